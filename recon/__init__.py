"""Accelerated MRI reconstruction with diffusion models.

    from recon import load_prior, open_scan, reconstruct

    scan = open_scan("fast.h5")                  # fastMRI HDF5, ISMRMRD HDF5, BART cfl/hdr
    prior = load_prior()                         # the small prior that comes with recon, or a folder of your own
    result = reconstruct(scan, prior, samples=4, seed=1)
    result.reconstruction, result.std            # [slice, readout, phase], in the units of the scan
    result.audit["warnings"]                     # why not to trust it, in words

Data flows one way: a scan file -> ``Scan`` -> a calibrated, whitened, scaled ``Problem`` -> posterior samples
-> a ``Reconstruction`` -> files, metrics, encoders, reader study. Importing this package imports nothing heavy; what it
offers is loaded when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recon.errors import ReconError, ReconWarning
from recon.version import __version__

if TYPE_CHECKING:
    from recon.face import load_prior, open_scan, reconstruct
    from recon.images.result import Reconstruction
    from recon.prior.store import Prior
    from recon.reconstruction.options import ReconstructionOptions
    from recon.scan import Scan

_PLACES = {
    "open_scan": "recon.face",
    "load_prior": "recon.face",
    "reconstruct": "recon.face",
    "Scan": "recon.scan",
    "Prior": "recon.prior.store",
    "Reconstruction": "recon.images.result",
    "ReconstructionOptions": "recon.reconstruction.options",
}

__all__ = [
    "Prior", "ReconError", "ReconWarning", "Reconstruction", "ReconstructionOptions", "Scan", "__version__",
    "load_prior", "open_scan", "reconstruct",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'recon' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

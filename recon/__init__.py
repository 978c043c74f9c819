"""Accelerated MRI reconstruction with diffusion models.

Data flows one way: a scan file -> ``Scan`` -> a calibrated, whitened, scaled ``Problem`` -> posterior samples
-> a ``Reconstruction`` -> files, metrics, encoders, reader study.
"""

from recon.version import __version__

__all__ = ["__version__"]

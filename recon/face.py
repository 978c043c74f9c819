"""The Python face of the toolkit: what ``from recon import ...`` gives."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from recon.errors import ReconError
from recon.images.result import Reconstruction
from recon.prior import store
from recon.prior.store import Prior
from recon.progress import Report, silent
from recon.reconstruction.machine import chosen_device
from recon.reconstruction.methods import METHODS
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct as run
from recon.scan import Scan
from recon.scans.opening import open_scan

__all__ = ["load_prior", "open_scan", "reconstruct"]


def load_prior(folder: str | Path | None = None, *, device: str | None = None) -> Prior:
    """Load a diffusion prior for ``reconstruct``.

    Args:
        folder: what ``recon pretrain`` or ``recon finetune`` wrote (diffusers layout and ``prior.json``); without it
            the small prior that comes with recon, which was trained on simulated and semi-synthetic images: for
            demonstrations and first experiments.
        device: ``cpu`` or ``cuda``; without it cuda where there is one. Give ``reconstruct`` the same.

    Returns:
        A ``Prior``: its ``denoiser``, and in ``facts`` the contrasts it knows, its validation denoising error by noise
        level, the training data with their licences, and the hash of its weights.

    Raises:
        ReconError: a file is missing, altered, or of another version. No pickle is ever loaded.
    """
    return store.load_prior(folder or store.shipped_prior(), chosen_device(device))


def reconstruct(
    scan: Scan | str | Path,
    prior: Prior | None = None,
    options: ReconstructionOptions = ReconstructionOptions(),
    *,
    device: str | None = None,
    report: Report = silent,
    **settings: Any,
) -> Reconstruction:
    """Reconstruct a scan in memory: the same images, to the bit, that ``recon reconstruct`` writes.

    Args:
        scan: from ``open_scan``, or a path. One slice at a time is read from its file.
        prior: from ``load_prior``. Without one the prior that comes with recon, if the method needs one.
        options: how to reconstruct; every field of ``ReconstructionOptions`` may be given by its name instead:
            ``method`` ("posterior", "sense", "l1-wavelet", "grappa", "zero-filled", ...), ``samples``, ``steps``,
            ``seed``, ``keep_samples``, ``noise_sigma`` (standard deviation per real component, file units) ...
        device: ``cpu`` or ``cuda``; without it cuda where there is one.
        report: called as ``report(stage, fraction)`` while it works.

    Returns:
        A ``Reconstruction``: ``reconstruction`` (posterior mean, magnitude float32 ``[slice, readout, phase]`` in the
        units of the scan, comparable with the root sum of squares of a fully sampled one), ``std`` (posterior standard
        deviation), ``zero_filled``, ``samples`` on request, ``affine`` to RAS+ mm, ``configuration`` (resolved) and
        ``audit`` (figures by scan and slice, and ``audit["warnings"]`` in words).

    Raises:
        ReconError: the scan cannot be reconstructed (and why), an option is unknown or not read by the method, or a
            value is not finite.
    """
    unknown = set(settings) - set(ReconstructionOptions.__dataclass_fields__)
    if unknown:
        known = ", ".join(ReconstructionOptions.__dataclass_fields__)
        raise ReconError(f"no option '{sorted(unknown)[0]}'; known: {known}")
    try:
        chosen = replace(options, **settings)
    except ValueError as error:
        raise ReconError(str(error)) from error
    place = chosen_device(device)
    row = METHODS.get(chosen.method)
    if prior is None and row is not None and row.needs_prior:
        prior = load_prior(device=place)
    opened = scan if isinstance(scan, Scan) else open_scan(scan)
    return run(opened, prior, chosen, device=place, report=report)

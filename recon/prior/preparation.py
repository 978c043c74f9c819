"""Training images from fully sampled scans, made by the code that calibrates a scan for reconstruction.

Each scan is treated as if only some central lines had been acquired for calibration, so that coil maps, scale and
low-resolution phase have in training the statistics that they will have in reconstruction.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from recon.acquisition.fourier import to_image
from recon.acquisition.masks import every_line_sampled
from recon.acquisition.problem import SCALE_STATISTIC, calibrate, preprocess_coils
from recon.atomic import atomic_path
from recon.errors import FullDiskError, ReconError
from recon.folders import same_place
from recon.hdf5 import hdf5_for_writing
from recon.prior.dataset import PREPARED_FORMAT, open_prepared
from recon.prior.options import PreparationOptions
from recon.scan import Scan
from recon.scans.derived import with_calibration
from recon.scans.opening import open_scan
from recon.seeding import numpy_generator
from recon.workers import task, worker_pool


@dataclass(frozen=True)
class Prepared:
    """What became of one scan: ``state`` is ``made``, ``kept`` (was there already) or ``failed`` with a reason.
    ``digest``: of the scan that was prepared; None where an earlier version did not keep it."""

    scan: Path
    output: Path
    state: str
    reason: str = ""
    slices: int = 0
    digest: str | None = None


def prepare_scan(scan: Scan, output: Path, options: PreparationOptions, stamp: str | None = None) -> int:
    """Write one prepared file; returns how many slices it holds. ``stamp``: size and time of change that the scan's
    file had before it was opened. Raises ReconError.

    The scan must be fully sampled; edges of k-space that were not encoded may be zero. Images are
    ``sum_c conj(S_c) x_c`` in units of the scale statistic.
    """
    if not every_line_sampled(scan.mask, scan.phase_limits):
        raise ReconError(f"{scan.path}: undersampled {scan.acceleration:.1f}x; training needs fully sampled scans")
    lines = int(numpy_generator(0, "calibration lines", scan.identity).choice(options.calibration_lines))
    as_acquired = with_calibration(scan, lines)
    preprocessing = preprocess_coils(as_acquired, coils=options.coils)
    images, scales, sigmas = [], [], []
    for index in range(scan.shape[0]):
        problem = calibrate(as_acquired, preprocessing, [index])
        image = (problem.maps[:, 0].conj() * to_image(problem.kspace)).sum(1)[0]
        images.append(image[problem.crop].numpy())
        scales.append(float(problem.scale))
        sigmas.append(float(problem.sigma))
    kept = [i for i, scale in enumerate(scales) if scale >= options.signal * max(scales)]
    with atomic_path(output) as temporary, hdf5_for_writing(temporary) as file:
        stack = np.stack([images[i] for i in kept]).astype(np.complex64)
        file.create_dataset("image", data=stack, chunks=(1, *stack.shape[1:]))
        file.attrs["format"] = PREPARED_FORMAT
        for name, value in scan.header.known().items():
            file.attrs[name] = value
        file.attrs["subject"] = scan.header.subject or scan.digest[:16]
        file.attrs["contrast"] = scan.contrast
        file.attrs["scan_digest"] = scan.digest
        if stamp is not None:
            file.attrs["scan_stamp"] = stamp
        file.attrs["scan_identity"] = scan.identity
        file.attrs["scale_statistic"] = SCALE_STATISTIC
        file.attrs["calibration_lines"] = as_acquired.calibration[1]
        file.attrs["noise_sigma"] = float(np.median([sigmas[i] for i in kept]))
        file.attrs["options"] = repr(options)
        if scan.voxel_size is not None:
            file.attrs["voxel_size_mm"] = scan.voxel_size
    return len(kept)


def prepare_all(
    paths: Sequence[Path], folder: Path, options: PreparationOptions, processes: int | None = None
) -> Iterator[Prepared]:
    """Prepare scans on all cores, one process a core; yields each outcome as it is known.

    A scan that is prepared already is kept; one that cannot be is reported as failed and the others go on. So is the
    second of two files with the same bytes: a prior would see it twice as often as any other. Raises FullDiskError, and
    ReconError when what is there under its name was made of another scan, or with other options.
    """
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ReconError(f"{twice[0]}: two scans have this name and would overwrite each other; prepare them apart")
    todo = []
    seen: dict[str, Path] = {}  # which scan has these bytes, by their digest
    for path in paths:
        output = folder / f"{path.stem}.h5"
        if output.is_file():
            digest = _check_kept(output, path, options)
            yield _told_apart(Prepared(path, output, "kept", digest=digest), seen)
        else:
            todo.append((path, output, options))
    if not todo:
        return
    workers = min(processes or _cores(), len(todo))
    # One thread each, a single worker too: threads that share a core mostly wait for each other. No more scans are
    # handed out than there are workers, so that an interrupted run ends with the scans it is at.
    running: set[Future[Prepared]] = set()
    with worker_pool(workers, partial(torch.set_num_threads, 1)) as pool:
        for job in todo:
            if len(running) == workers:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (_told_apart(future.result(), seen) for future in done)
            running.add(pool.submit(task, _prepare_one, job))
        yield from (_told_apart(future.result(), seen) for future in as_completed(running))


def _told_apart(outcome: Prepared, seen: dict[str, Path]) -> Prepared:
    """The outcome, or a failure when a scan of the same bytes was ``seen`` before; what was made of it is removed."""
    if outcome.state == "failed":
        return outcome
    first = outcome.scan if outcome.digest is None else seen.setdefault(outcome.digest, outcome.scan)
    if first == outcome.scan:
        return outcome
    if outcome.state == "made":
        outcome.output.unlink()
        remedy = "leave one of them out"
    else:
        remedy = f"leave one of them out, and remove {outcome.output}"
    return Prepared(outcome.scan, outcome.output, "failed", f"{outcome.scan}: the same scan as {first}; {remedy}")


def _check_kept(output: Path, path: Path, options: PreparationOptions) -> str | None:
    """The digest of the scan that the prepared file ``output`` was made of. Raises ReconError when that is not the
    scan ``path``, prepared with ``options``.

    A file of the same size and time of change is taken to be the same, as version control does: thousands of scans are
    more than a terabyte to read."""
    if same_place(output, path):
        raise ReconError(f"{output}: is the scan itself; choose another --out")
    there = open_prepared(output)
    if (there.scan_stamp is None or there.scan_stamp != _stamp(path)) and there.scan_digest != open_scan(path).digest:
        raise ReconError(
            f"{output}: was made of another scan than {path} as it is now; remove it, or choose another --out"
        )
    if there.options != repr(options):
        raise ReconError(
            f"{output}: was made with other options ({there.options}, now {options}); choose another --out"
        )
    return there.scan_digest


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _stamp(path: Path) -> str | None:
    """Size and time of change of a scan that is one file; None for scans of several files, and where it cannot be
    told."""
    if path.suffix != ".h5":
        return None
    try:
        facts = path.stat()
    except OSError:
        return None
    return f"{facts.st_size} {facts.st_mtime_ns}"


def _prepare_one(job: tuple[Path, Path, PreparationOptions]) -> Prepared:
    path, output, options = job
    try:
        stamp = _stamp(path)
        scan = open_scan(path)
        slices = prepare_scan(scan, output, options, stamp)
        return Prepared(path, output, "made", slices=slices, digest=scan.digest)
    except FullDiskError:  # no fault of the scan's, and the next one would meet it, too
        raise
    except ReconError as error:
        return Prepared(path, output, "failed", str(error))

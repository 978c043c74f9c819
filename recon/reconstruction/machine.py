"""The machine a reconstruction runs on: device, threads, memory, and a stopwatch."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

from recon.errors import ReconError
from recon.reconstruction.options import ReconstructionOptions
from recon.scan import Scan

MEMORY = 600e6  # bytes that the exact solver's eigenvectors may take; bounds the slices in a batch
COPIES = 30  # of a complex image that drawing one sample takes; 35 to 150 were measured, by the sampler
LARGEST_BATCH = 8  # slices at a time on a GPU; a processor gains nothing by more than one


def _at_once() -> None:
    """Wait for nothing."""


def waiting_for(device: torch.device | str) -> Callable[[], None]:
    """A function that returns when the device has done all it was told; for measurements only."""
    if torch.device(device).type == "cpu":
        return _at_once
    return lambda: torch.cuda.synchronize(device)


@dataclass
class Stopwatch:
    """Seconds by stage. A GPU works behind the processor's back; with ``wait`` its seconds belong to the stage that
    took them, at the price of its idling between stages."""

    seconds: dict[str, float] = field(default_factory=dict)
    wait: Callable[[], None] = _at_once

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        self.wait()
        start = time.perf_counter()
        try:
            yield
            self.wait()
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def default_device() -> str:
    """cuda where there is one, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def chosen_device(wanted: str | None) -> str:
    """The device that is asked for, or the default. Raises ReconError when it is not there."""
    device = wanted or default_device()
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ReconError(f"--device {device}: choose cpu or cuda") from error
    if kind not in ("cpu", "cuda"):
        raise ReconError(f"--device {device}: choose cpu or cuda")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and (torch.device(device).index or 0) >= count:
        raise ReconError(
            f"--device {device}: {count or 'no'} CUDA devices here; leave --device away to use another one"
        )
    return device


def physical_threads() -> int:
    """Threads that this process may use: its processors, or fewer where OMP_NUM_THREADS says so."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    allowed = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(wanted)) if wanted.isdigit() and int(wanted) > 0 else allowed


def slices_at_a_time(scan: Scan, options: ReconstructionOptions, device: torch.device | str) -> int:
    """The batch of slices, so that memory does not grow with the slices of a scan."""
    if options.batch is not None:
        return options.batch
    readout, phase = min(scan.shape[2], scan.image_shape[0]), scan.shape[3]
    bytes_each = 8 * readout * (options.map_sets * phase) ** 2 if scan.mask.ndim == 1 else 8 * readout * phase * 200
    largest = 1 if torch.device(device).type == "cpu" else LARGEST_BATCH
    return max(1, min(scan.shape[0], int(MEMORY // bytes_each), largest))


def check_samples_fit(scan: Scan, options: ReconstructionOptions, samples: int, device: torch.device | str) -> None:
    """Raises ReconError when the samples of one slice need more memory than there is: a system that is out of memory
    ends processes without a word."""
    pixels = min(scan.shape[2], scan.image_shape[0]) * scan.shape[3] * options.map_sets
    needed, there = 8 * pixels * samples * COPIES, memory_of(device)
    if needed > there:
        raise ReconError(
            f"{scan.path}: {samples} samples need at least {needed / 1e9:.1f} GB of memory, {there / 1e9:.1f} GB can "
            "be had; draw fewer (--samples)"
        )


def memory_of(device: torch.device | str) -> float:
    """Bytes that this process may have on a device: all of its memory, or less under a limit (``ulimit -v``)."""
    if torch.device(device).type == "cuda":
        return float(torch.cuda.mem_get_info(device)[1])
    names = getattr(os, "sysconf_names", {})  # not on every system
    known = "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names
    physical = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) if known else math.inf
    if resource is None:
        return physical
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return physical if limit == resource.RLIM_INFINITY else min(physical, float(limit))


class Memory:
    """The peak of a device's memory from the moment this is made; of a processor, the peak of the whole process."""

    def __init__(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> int | None:
        """Bytes; None on a system that does not tell."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return peak_memory_of_process()


def peak_memory_of_process() -> int | None:
    """Bytes of this process at their peak; None on a system that does not tell."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

"""Prepared training images on disk, split by person, drawn by a counter.

What image number ``n`` of a run is depends on ``(seed, n)`` alone: training gives the same batches after an
interruption and on any number of processes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from recon.contrast_names import canonical_contrast
from recon.errors import ReconError
from recon.folders import entries, why_no_folder
from recon.foreign.hdf5 import foreign_hdf5, text_attribute
from recon.foreign.schema import COMPLEX, NUMBER, TEXT, Part, check_schema
from recon.header import UNSTATED, Header, header_from
from recon.prior.augmentation import augment, random_crop
from recon.prior.denoiser import UNKNOWN_CONTRAST_LABEL
from recon.prior.options import TrainingOptions
from recon.progress import Report, silent
from recon.scans.hdf5_schema import header_parts
from recon.seeding import numpy_generator, torch_generator

PREPARED_FORMAT = "recon-prepared-2"
EARLIER_FORMATS = ("recon-prepared-1",)  # without most of the header; read as they are
PARTS = (
    Part("image", COMPLEX, (3,), needed=True),
    Part("/@subject", TEXT, (0, 1), 1, needed=True),
    Part("/@contrast", TEXT, (0, 1), 1, needed=True),
    Part("/@noise_sigma", NUMBER, (0, 1), 1, 0),
    Part("/@scan_digest", TEXT, (0, 1), 1),
    Part("/@scan_stamp", TEXT, (0, 1), 1),
    Part("/@scan_identity", TEXT, (0, 1), 1),
    Part("/@options", TEXT, (0, 1), 1),
    *header_parts("/"),
)


@dataclass(frozen=True)
class PreparedScan:
    """One prepared file: ``image`` complex64 ``[slice, readout, phase]`` in units of the scale statistic."""

    path: Path
    subject: str  # a person's pseudonym; scans of one person share it
    contrast: str
    slices: int
    shape: tuple[int, int]
    header: Header = UNSTATED
    noise_sigma: float | None = None  # per real component, relative to the image scale; the median of the slices
    scan_digest: str | None = None  # of the raw scan
    scan_identity: str | None = None  # of the raw scan: names random streams
    options: str | None = None  # of preparation
    scan_stamp: str | None = None  # size and time of change of the raw scan's file

    def read(self, index: int) -> Tensor:
        """Slice ``index`` as complex64 ``[readout, phase]``. Raises ReconError when the file changed or broke."""
        try:
            with h5py.File(self.path, "r") as file:  # came through the door when it was opened
                image = torch.from_numpy(np.asarray(file["image"][index], np.complex64))
                if not torch.isfinite(torch.view_as_real(image)).all():
                    raise ReconError(f"{self.path}: slice {index} has NaN or infinite values; prepare the scan again")
                return image
        except (OSError, KeyError, RuntimeError) as error:
            raise ReconError(f"{self.path}: prepared file is damaged ({error}); delete it and prepare again") from error


def open_prepared(path: str | Path) -> PreparedScan:
    """Read a prepared file's header. Raises ReconError when it is not a prepared file."""
    path = Path(path)
    try:
        with foreign_hdf5(path) as file:
            if not _known(file):
                raise ReconError(f"{path}: not a file of 'recon prepare'; run it on the raw scans first")
            check_schema(path, file, PARTS, "delete it and prepare again")
            slices, rows, columns = file["image"].shape
            if 0 in file["image"].shape:
                raise ReconError(f"{path}: 'image' {file['image'].shape} is empty; delete it and prepare again")
            said = dict(file.attrs)
            return PreparedScan(
                path,
                _text(said["subject"]),
                canonical_contrast(_text(said["contrast"])),
                slices,
                (rows, columns),
                header=header_from({name: _scalar(value) for name, value in said.items()}),
                noise_sigma=float(np.asarray(said["noise_sigma"]).item()) if "noise_sigma" in said else None,
                scan_digest=_text(said["scan_digest"]) if "scan_digest" in said else None,
                scan_identity=_text(said["scan_identity"]) if "scan_identity" in said else None,
                options=_text(said["options"]) if "options" in said else None,
                scan_stamp=_text(said["scan_stamp"]) if "scan_stamp" in said else None,
            )
    except (OSError, KeyError, ValueError) as error:
        raise ReconError(f"{path}: truncated or foreign file ({error}); delete it and prepare again") from error


def _text(value: Any) -> str:
    """An attribute that the schema knows to be one text, in whichever way it is stored."""
    value = _scalar(value)
    return value.decode() if isinstance(value, bytes) else str(value)


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray) and value.size == 1 else value


def is_prepared(path: Path) -> bool:
    """Whether a file is one of 'recon prepare'; False for foreign, truncated and missing files."""
    try:
        with foreign_hdf5(path) as file:
            return _known(file)
    except (OSError, ReconError):
        return False  # another format, or one that the scan reader will name as broken


def _known(file: h5py.File) -> bool:
    return text_attribute(file, "format") in (PREPARED_FORMAT, *EARLIER_FORMATS)


def open_folder(folder: str | Path, report: Report = silent) -> list[PreparedScan]:
    """All prepared files of a folder, in the order of their names. ``report`` tells how far it is: thousands of files
    take a minute. Raises ReconError when there are none."""
    folder = Path(folder)
    if (wrong := why_no_folder(folder)) is not None:
        raise ReconError(f"{folder}: {wrong}; give the folder that 'recon prepare' wrote")
    paths = entries(folder, "*.h5")
    scans: list[PreparedScan] = []
    for path in paths:
        report("reading what was prepared", len(scans) / len(paths))
        scans.append(open_prepared(path))
    if not scans:
        raise ReconError(f"{folder}: no prepared files; run 'recon prepare SCAN... --out {folder}' first")
    return scans


def split_by_subject(
    scans: Sequence[PreparedScan], validation_fraction: float, seed: int
) -> tuple[list[PreparedScan], list[PreparedScan]]:
    """Training and validation scans that share no person; at least one subject on each side.

    Raises ReconError when there is only one subject.
    """
    subjects = sorted({scan.subject for scan in scans})
    if len(subjects) < 2:
        raise ReconError("all prepared scans are of one subject; at least two are needed to hold one out")
    order = numpy_generator(seed, "split").permutation(len(subjects))
    count = min(max(1, round(validation_fraction * len(subjects))), len(subjects) - 1)
    held = {subjects[i] for i in order[:count]}
    return [s for s in scans if s.subject not in held], [s for s in scans if s.subject in held]


class TrainingImages(Dataset[tuple[Tensor, int, float, Tensor]]):
    """Image number ``n`` of a run: ``(image [readout, phase], contrast_label, sigma, noise [readout, phase])``."""

    def __init__(
        self, scans: Sequence[PreparedScan], contrast_labels: dict[str, int], options: TrainingOptions
    ) -> None:
        self._scans, self._contrast_labels, self._options = list(scans), contrast_labels, options
        self._index = [(i, j) for i, scan in enumerate(scans) for j in range(scan.slices)]
        self._cache: dict[int, list[Tensor]] = {}
        if options.in_memory:
            for i, scan in enumerate(scans):
                self._cache[i] = [scan.read(j) for j in range(scan.slices)]

    @property
    def count(self) -> int:
        """Different slices: one epoch."""
        return len(self._index)

    def __getitem__(self, number: int) -> tuple[Tensor, int, float, Tensor]:
        options, crop = self._options, self._options.crop
        epoch, position = divmod(number, self.count)
        scan_index, slice_index = self._index[self._order(epoch)[position]]
        scan = self._scans[scan_index]
        cached = self._cache.get(scan_index)
        image = cached[slice_index] if cached else scan.read(slice_index)
        generator = torch_generator(options.seed, "image", number)
        wide = crop + crop // 4  # room for the rotation, so that its corners are not empty
        image = augment(image, options.augmentation, generator, window=wide)
        image = random_crop(image, (crop, crop), generator)
        known = float(torch.rand((), generator=generator)) >= options.unknown_fraction
        contrast_label = self._contrast_labels[scan.contrast] if known else UNKNOWN_CONTRAST_LABEL
        drawn = torch.randn((), generator=generator)
        sigma = float((drawn * options.log_sigma_std + options.log_sigma_mean).exp())
        return image, contrast_label, sigma, unit_noise(image.shape, generator)

    def _order(self, epoch: int) -> np.ndarray:
        if getattr(self, "_epoch", None) != epoch:
            generator = numpy_generator(self._options.seed, "epoch", epoch)
            self._epoch, self._permutation = epoch, generator.permutation(self.count)
        return self._permutation


def unit_noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Complex noise of unit variance per real component."""
    real = torch.randn((*shape, 2), generator=generator, device=generator.device)
    return torch.view_as_complex(real)


class Batches(Sampler[list[int]]):
    """Image numbers of this process's part of each global batch, from step ``first`` to ``last``."""

    def __init__(self, first: int, last: int, batch: int, process: int, processes: int) -> None:
        if batch % processes:
            raise ReconError(f"batch of {batch} images cannot be shared by {processes} processes; choose a multiple")
        self._steps, self._batch, self._process, self._part = range(first, last), batch, process, batch // processes

    def __iter__(self) -> Iterator[list[int]]:
        for step in self._steps:
            start = step * self._batch + self._process * self._part
            yield list(range(start, start + self._part))

    def __len__(self) -> int:
        return len(self._steps)

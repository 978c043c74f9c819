"""A small world in which every command that writes has something to do, and what each of them then must leave."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from recon.configuration import load_config
from recon.prior.dataset import PREPARED_FORMAT, open_folder
from recon.prior.options import TrainingOptions
from recon.prior.pretraining import pretrain
from recon.progress import silent
from tests.reader_study.study_maker import PASSPHRASE, make_study
from tests.small_world import SIZE, write_small_scan

TINY = """
network: {channels: [8, 16]}
images: 160
batch: 4
crop: 16
checkpoint_images: 16
validation_fraction: 0.4
"""
TINY_ENCODER = """
network: {width: 16, depth: 1, heads: 2, patch: 8}
samples: 32
batch: 8
tokens: 40
predictor_width: 8
predictor_depth: 1
target_layers: 1
checkpoint_samples: 8
monitor_samples: 8
held_out_fraction: 0.0
least_rank: 1.0
"""


@dataclass(frozen=True)
class Command:
    """One command line: ``words(world, out)``. ``progress``: patterns of files that may be there on the way only.

    ``before`` makes what must be in ``out`` already; ``afterwards`` is a command line that must succeed in the end.
    ``same``: whether a second run gives the same files (an export draws its names from the system's randomness).
    """

    name: str
    words: Callable[[Path, Path], list[str]]
    progress: tuple[str, ...] = ()
    before: Callable[[Path], None] = lambda out: None
    afterwards: Callable[[Path], list[str]] | None = None
    same: bool = True
    finished: str = ""  # what a second run says where the first had come to its end, with exit code 2


def _freeze(out: Path) -> None:
    make_study(out, cases=3)


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "simulate",
            lambda world, out: (
                f"simulate --out {out} --subjects 3 --size 48,40 --coils 4 --slices 2 --stroke --contrast FLAIR "
                "--contrast T1"
            ).split(),
            progress=("manifest.json",),  # it grows with the scans
        ),
        Command("convert", lambda world, out: f"convert {world}/scans --contrast T2 --out {out}".split()),
        Command("undersample", lambda world, out: f"undersample {world}/scans --acceleration 2 --out {out}".split()),
        Command("prepare", lambda world, out: f"prepare {world}/scans --processes 2 --out {out}".split()),
        Command(
            "pretrain",
            lambda world, out: (
                f"pretrain --data {world}/prepared --config {world}/tiny.yaml --device cpu --out {out}".split()
            ),
            progress=("state/*",),
        ),
        Command(
            "finetune",
            lambda world, out: (
                f"finetune --prior {world}/prior --data {world}/prepared --rate 1e-3 --images 64 --device cpu "
                f"--out {out}".split()
            ),
            progress=("state/*", "runs/*", "*.json"),
        ),
        Command(
            "reconstruct",
            lambda world, out: (
                f"reconstruct {world}/scans --prior {world}/prior --samples 2 --format h5,nifti,dicom,png --out {out}"
            ).split(),
        ),
        Command(
            "benchmark",
            lambda world, out: (
                f"benchmark {world}/scans/a.h5 --acceleration 2 --calibration-lines 12 --methods zero-filled,sense "
                f"--out {out}"
            ).split(),
        ),
        Command(
            "encode pretrain",
            lambda world, out: (
                f"encode pretrain --data {world}/heads --config {world}/encoder.yaml --cache {out}/cache --threads 1 "
                f"--out {out}/encoder"
            ).split(),
            progress=("encoder/state/*", "cache/*"),
        ),
        Command(
            "export",
            lambda world, out: (
                f"reader-study export {out}/study --images {out}/images/{{arm}}/{{case}}.nii --passphrase-file "
                f"{world}/secret".split()
            ),
            progress=("study/*",),
            before=_freeze,
            afterwards=lambda out: f"reader-study check {out}/study".split(),
            same=False,
            finished="already exported",
        ),
    )
}


def build(world: Path, commands: Collection[str] = tuple(COMMANDS)) -> None:
    """Scans under ``world``, and prepared images, a prior, heads and recipes where one of ``commands`` needs them."""
    scans = world / "scans"
    scans.mkdir(parents=True)
    for seed, name in enumerate(("a", "b", "c")):
        write_small_scan(scans / f"{name}.h5", seed=seed)
    (world / "tiny.yaml").write_text(TINY)
    if {"pretrain", "finetune", "reconstruct"} & set(commands):
        for number in range(5):
            _write_prepared(world / "prepared" / f"p{number}.h5", number)
        pretrain(
            load_config(TrainingOptions, world / "tiny.yaml"),
            open_folder(world / "prepared"),
            world / "prior",
            silent,
            device="cpu",
        )
    (world / "encoder.yaml").write_text(TINY_ENCODER)
    if "encode pretrain" in commands:
        _write_heads(world / "heads")
    secret = world / "secret"
    secret.write_text(PASSPHRASE)
    secret.chmod(0o600)


def _write_prepared(path: Path, number: int) -> None:
    """Prepared images of one person: ellipses of that person's own."""
    path.parent.mkdir(exist_ok=True)
    generator = np.random.default_rng(number)
    y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in SIZE), indexing="ij")
    image = np.zeros(SIZE)
    for _ in range(6):
        centre, radii = generator.uniform(-0.5, 0.5, 2), generator.uniform(0.1, 0.4, 2)
        inside = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1
        image += generator.uniform(0.2, 1) * inside
    with h5py.File(path, "w") as file:
        file["image"] = np.stack([image, 0.8 * image, 1.1 * image]).astype(np.complex64)
        file.attrs.update(
            format=PREPARED_FORMAT, subject=f"p{number}", contrast="FLAIR", scan_digest=f"digest-{number}",
            noise_sigma=0.02, origin="ellipses", licence="none needed",
        )  # fmt: skip


def _write_heads(folder: Path) -> None:
    import nibabel

    folder.mkdir()
    generator = np.random.default_rng(0)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in (12, 64, 56)), indexing="ij")
    for number in range(4):
        head = np.where((y / 0.8) ** 2 + (x / 0.75) ** 2 + (z / 1.5) ** 2 < 1, 100.0 + 10 * number, 0)
        head += generator.normal(size=head.shape)
        volume = np.moveaxis(np.abs(head), 0, 2).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([2.0, 2, 5, 1])), folder / f"head{number}.nii.gz")

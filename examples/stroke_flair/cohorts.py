"""The cohorts: simulated raw scans, and the training images made of them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiment import Work, say, store

from recon.errors import ReconError


def shared_folder(*names: str) -> Path | None:
    """A folder of real data below RECON_SHARED_DATA, if it is there."""
    shared = os.environ.get("RECON_SHARED_DATA")
    folder = Path(shared, *names) if shared else None
    return folder if folder is not None and folder.is_dir() else None


def simulate(work: Work) -> None:
    """Three cohorts; the heads of the test cohort are in no other one."""
    from recon.seeding import numpy_generator
    from recon.simulate.anatomy_files import find_anatomies
    from recon.simulate.builtin_head import builtin_sources
    from recon.simulate.cohort import simulate_cohort
    from recon.simulate.options import SimulationOptions

    experiment = work.experiment
    heads, shapes = shared_folder("labels_ptbp60"), shared_folder("stroke", "lesymap131")
    sources = find_anatomies(heads) if heads else builtin_sources()
    order = numpy_generator(experiment.seed, "heads").permutation(len(sources))
    held = max(1, round(experiment.test_share * len(sources))) if len(sources) > 1 else 0
    test = [sources[i] for i in order[:held]] or sources
    training = [sources[i] for i in order[held:]]
    cohorts: list[tuple[str, Any, int, Sequence[str], bool]] = [
        ("pretraining", training, experiment.pretraining_subjects, experiment.pretraining_contrasts, False),
        ("flair", training, experiment.full_subjects, ("FLAIR",), True),
        ("test", test, experiment.test_subjects, ("FLAIR",), True),
    ]
    for number, (name, heads_of, subjects, contrasts, stroke) in enumerate(cohorts):
        options = SimulationOptions(
            size=experiment.size,
            coils=experiment.coils,
            slices=experiment.slices,
            snr=experiment.snr,
            stroke=stroke,
            seed=experiment.seed + 1000 * (number + 1),
            anatomy=str(heads) if heads else None,
            lesion_shapes=str(shapes) if shapes and stroke else None,
        )
        manifest = simulate_cohort(work.path("scans", name), subjects, contrasts, options, sources=heads_of)
        say(f"cohort {name}: {len(manifest['scans'])} scans ({manifest['written']} new)")
    # The small cohort: the first of the FLAIR scans, each of another head where there are enough heads.
    small = work.path("scans", "small")
    small.mkdir(parents=True, exist_ok=True)
    for path in small_cohort(work):
        target = small / path.name
        if not target.exists():
            target.symlink_to(path.resolve())
    store(
        work.path("cohorts.json"),
        {
            "heads": heads.name if heads else "icbm152", "lesion_shapes": shapes.name if shapes else "built-in",
            "heads_training": len(training), "heads_test": held, "same_heads": held == 0,
        },
    )  # fmt: skip


def small_cohort(work: Work) -> list[Path]:
    """The raw scans of the small cohort, in the order of the manifest's subjects by repetition of heads."""
    scans = sorted(
        work.path("scans", "flair").glob("*_FLAIR.h5"), key=lambda path: (path.stem.split("-")[-1], path.stem)
    )
    return scans[: work.experiment.small_subjects]


def prepare(work: Work) -> None:
    """Training images of the pre-training and FLAIR cohorts."""
    from recon.prior.options import PreparationOptions
    from recon.prior.preparation import prepare_all

    for name in ("pretraining", "flair"):
        paths = [p for p in sorted(work.path("scans", name).glob("*.h5")) if not p.stem.endswith("_lesion")]
        out = work.path("prepared", name)
        missing = [path for path in paths if not (out / path.name).is_file()]
        failed = (
            [o.reason for o in prepare_all(missing, out, PreparationOptions()) if o.state == "failed"]
            if missing
            else []
        )
        if failed:
            raise ReconError(failed[0])
        say(f"prepared {name}: {len(paths)} scans ({len(missing)} new)")


def prepared(work: Work, name: str) -> list[Any]:
    """Prepared scans of a cohort: pretraining, flair (full) or small.

    Subjects that were made from one real head count as one person, and no split parts them.
    """
    from recon.prior.dataset import open_prepared

    folder = work.path("prepared", "flair" if name == "small" else name)
    scans = [open_prepared(path) for path in sorted(folder.glob("*.h5"))]
    if name == "small":
        chosen = {path.name for path in small_cohort(work)}
        scans = [scan for scan in scans if scan.path.name in chosen]
    return scans


def test_patients(work: Work) -> list[Any]:
    """The test subjects with their raw scans."""
    from recon.finetuning.cohort import gather

    patients, _ = gather(work.path("scans", "test"), work.path("prepared", "test"), skip_bad=False)
    return patients

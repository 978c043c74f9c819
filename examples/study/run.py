"""Which series of a stroke study may be accelerated? From nothing to the answer, on SIMULATED persons, in one command:

    python examples/study/run.py OUT                # --small: two minutes, to see that it works

Simulates persons with and without a stroke, fits the network of variable contrast and its controls, compares them on
persons unseen, and accelerates those persons' series. --questions transfer,pretraining,planes asks instead, or too, how
a network does on sets of series that no person of its training was examined with, what pre-training without outlines
is worth at few outlined persons, and whether sagittal series deserve an encoder of their own. Each step prints the
command that it runs; everything is kept, so an interrupted run continues with the same command.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.main import main

CONTRASTS = ("DWI", "DWI-B0", "FLAIR", "T2", "T1")


@dataclass(frozen=True)
class Size:
    """How large the experiment is."""

    persons: int = 120
    slices: int = 8
    samples: int = 10000
    unseen: int = 6
    accelerations: str = "2,4,8"
    repeats: int = 1000
    few: tuple[int, ...] = (8, 32)  # outlined persons
    few_samples: int = 3000
    hidden_samples: int = 6000
    planes_samples: int = 7000


SMALL = Size(
    persons=12, slices=3, samples=160, unseen=3, accelerations="4", repeats=100, few=(2,), few_samples=80,
    hidden_samples=80, planes_samples=40,
)  # fmt: skip
# The model, its fixed counterparts, and the controls of what is learned at all.
MODELS = {
    "variable": ("--kind", "variable"),
    "fixed-dropout": ("--kind", "fixed"),
    "fixed-complete": ("--kind", "fixed", "--contrast-dropout", 0),
    "random-features": ("--kind", "variable", "--frozen"),
    "intensity": ("--kind", "linear", "--learning-rate", 0.03),
}
OLD_SETS = ("T1+T2+FLAIR", "DWI+ADC")  # each person of a training was examined with one of these
NEW_SETS = ("FLAIR+DWI", "T1+T2+FLAIR+DWI+ADC")  # nobody was


def recon(*words: object) -> None:
    """Run one ``recon`` command as from the terminal; stop where it fails."""
    line = [str(word) for word in words]
    print(f"\n$ recon {' '.join(line)}", flush=True)
    try:
        main(line)
    except SystemExit as finished:
        if finished.code:
            raise


@dataclass(frozen=True)
class Place:
    """Where an experiment lies."""

    out: Path
    size: Size

    @property
    def cohorts(self) -> tuple[Path, Path]:
        """Persons with a stroke, and the same ones without."""
        return self.out / "stroke", self.out / "healthy"

    @property
    def kept(self) -> tuple[str, Path]:
        """Where what is made of the cohorts is kept."""
        return "--kept", self.out / "kept"

    def fit(self, name: str, *flags: object) -> None:
        """Fit a model on the persons that are not held out."""
        recon("study", "fit", *self.cohorts, "--out", self.out / name, *self.kept, *flags)

    def judge(self, names: Sequence[str], *flags: object) -> None:
        """Compare the first of these models with the others on persons that none has seen."""
        models = [word for name in names for word in ("--model", self.out / name)]
        recon("study", "eval", *self.cohorts, *models, *self.kept, "--repeats", self.size.repeats, *flags)


def simulate(place: Place) -> None:
    """The persons."""
    wanted = [word for contrast in CONTRASTS for word in ("--contrast", contrast)]
    for folder, flags in zip(place.cohorts, (("--stroke",), ()), strict=True):
        recon(
            "simulate", "--out", folder, "--subjects", place.size.persons, "--size", "96,80", "--coils", 6,
            "--slices", place.size.slices, "--snr", 20, "--seed", 14, *flags, *wanted,
        )  # fmt: skip


def acceleration(place: Place, methods: str) -> None:
    """One network for all series against its controls, and what acceleration costs it."""
    size = place.size
    for name, flags in MODELS.items():
        place.fit(name, "--samples", size.samples, *flags)
    place.judge(list(MODELS))
    recon(
        "study", "accelerate", *place.cohorts, "--model", place.out / "variable", "--out", place.out / "answer",
        *place.kept, "--persons", size.unseen, "--acceleration", size.accelerations, "--methods", methods,
        "--repeats", size.repeats,
    )  # fmt: skip


def transfer(place: Place, _: str) -> None:
    """Sets of series never seen together, at once and after a few persons; and what is forgotten of the old ones."""
    size = place.size
    few = ("--persons", size.few[0], "--samples", size.few_samples)
    place.fit("two-protocols", "--samples", size.samples, "--protocols", ",".join(OLD_SETS))
    place.fit("then-few", "--from", place.out / "two-protocols", "--learning-rate", 5e-4, *few)
    place.fit("few-alone", *few)
    place.judge(("two-protocols", "then-few", "few-alone"), "--subsets", ",".join((*OLD_SETS, *NEW_SETS)))


def pretraining(place: Place, _: str) -> None:
    """The same fit at few outlined persons, from drawn weights and from pre-trained ones."""
    size = place.size
    hidden = place.out / "hidden"
    recon("study", "pretrain", *place.cohorts, "--out", hidden, *place.kept, "--samples", size.hidden_samples)
    for count in size.few:
        shared = ("--persons", count, "--samples", size.few_samples)
        place.fit(f"pretrained-{count}", "--from", hidden, *shared)
        place.fit(f"drawn-{count}", *shared)
        place.judge((f"pretrained-{count}", f"drawn-{count}"))


def planes(place: Place, _: str) -> None:
    """Axial and sagittal slices of other persons: encoders of their own against everything resampled, and a plane
    missing."""
    cohorts = place.out / "infarct", place.out / "none"
    for folder, flags in zip(cohorts, (("--stroke",), ()), strict=True):
        recon(
            "simulate", "--out", folder, "--subjects", place.size.persons, "--plane", "both", "--size", 80, "--seed",
            14, "--contrast", "DWI", "--contrast", "FLAIR", *flags,
        )  # fmt: skip
    names = {"planes": (), "resampled": ("--resampled",)}
    for name, flags in names.items():
        recon(
            "study", "fit-planes", *cohorts, "--out", place.out / name, *place.kept, "--samples",
            place.size.planes_samples, *flags,
        )  # fmt: skip
    models = [word for name in names for word in ("--model", place.out / name)]
    recon("study", "eval-planes", *cohorts, *models, *place.kept, "--repeats", place.size.repeats)


QUESTIONS = {"acceleration": acceleration, "transfer": transfer, "pretraining": pretraining, "planes": planes}


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for everything")
    parser.add_argument("--small", action="store_true", help="a few persons: to see that it works")
    parser.add_argument(
        "--methods", default="zero-filled,l1-wavelet", help="of the reconstruction; 'posterior' takes longest"
    )
    parser.add_argument("--questions", default="acceleration", help=f"of {', '.join(QUESTIONS)}; joined with commas")
    given = parser.parse_args(words)
    if strangers := set(given.questions.split(",")) - set(QUESTIONS):
        parser.error(f"--questions {', '.join(sorted(strangers))}: choose from {', '.join(QUESTIONS)}")
    return given


if __name__ == "__main__":
    chosen = parse(sys.argv[1:])
    here = Place(chosen.out, SMALL if chosen.small else Size())
    questions = chosen.questions.split(",")
    if set(questions) - {"planes"}:  # which has persons of its own
        simulate(here)
    for question in questions:
        QUESTIONS[question](here, chosen.methods)

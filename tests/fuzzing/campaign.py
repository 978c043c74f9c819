"""A campaign: numbered mutants of every row of ``targets``, judged, counted by class as a table."""

import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.fuzzing import worker
from tests.fuzzing.bombs import compressed_piece, deflated
from tests.fuzzing.driving import COLUMNS, MEMORY, Verdict
from tests.fuzzing.targets import ROWS, TARGETS, Target
from tests.fuzzing.worker import BROKEN

RESIDENT_BYTES = 1 << 30  # more than any seed needs by far: what takes it believed a declared size

# Shares of the classes in the audit that the suite stands for; Siemens raw data came later.
WEIGHTS = {
    "fastMRI structure": 651, "fastMRI attributes": 291, "fastMRI bytes and metadata": 470, "fastMRI XML": 231,
    "ISMRMRD": 454, "Siemens": 400, "BART": 143, "NIfTI, DICOM": 340, "npy, mat, npz": 191, "YAML": 265,
    "prior folders": 217,
    "results, prepared, embeddings": 205, "encoder weights": 140, "sheets and tables": 167,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One mutant: the ``number``-th of its target, the same for a seed whatever else is run."""

    target: Target
    number: int
    seed: int

    @property
    def name(self) -> str:
        """How it is called on the command line: ``fast.h5:fastMRI XML:17``."""
        return f"{Path(self.target.seed).name}:{self.target.row}:{self.number}"

    @property
    def mutation(self) -> str:
        """Which kind of change it is: the first that its stream draws."""
        return self.target.mutations[int(self.generator().integers(len(self.target.mutations)))].name

    def generator(self) -> np.random.Generator:
        """Its own random stream."""
        name = zlib.crc32(f"{self.target.row}:{self.target.seed}".encode())
        return np.random.default_rng([self.seed, name, self.number])


def mutants_of(count: int, seed: int, rows: tuple[str, ...] = ROWS) -> list[Mutant]:
    """``count`` mutants in the classes ``rows``, shared out by ``WEIGHTS`` and within a class by ``Target.share``."""
    chosen = [target for target in TARGETS if target.row in rows]
    shares = {row: sum(target.share for target in chosen if target.row == row) for row in rows}
    weights = [WEIGHTS[target.row] * target.share / shares[target.row] for target in chosen]
    edges = np.round(np.cumsum([0, *weights]) * count / sum(weights)).astype(int)
    counts = np.diff(edges)
    return [Mutant(target, n, seed) for target, many in zip(chosen, counts, strict=True) for n in range(int(many))]


def judged(mutant: Mutant, seeds: Path) -> Verdict:
    """Make the mutant, drive it, judge."""
    generator = mutant.generator()
    target = mutant.target
    with worker.scratch() as name:
        folder = Path(name)
        path = worker.copied(seeds / target.seed, folder, [seeds / other for other in target.beside])
        mutation = target.mutations[int(generator.integers(len(target.mutations)))]
        expected = mutation.change(path, generator)
        before = worker.peak()
        verdict = target.drive(path, seeds, expected)
        grown = worker.peak() - before
        if grown > RESIDENT_BYTES:
            verdict = Verdict(MEMORY, f"{grown >> 20} MiB; {verdict.words}")
    return Verdict(verdict.column, verdict.words.replace(name, "..."))


@dataclass(frozen=True)
class Finding:
    """A mutant with its verdict."""

    mutant: Mutant
    verdict: Verdict

    def line(self) -> str:
        """What was found, where, by which change."""
        return f"{self.verdict.column}: {self.mutant.name} ({self.mutant.mutation}): {self.verdict.words[:400]}"


def campaign(mutants: list[Mutant], seeds: Path, seconds: float = worker.SECONDS) -> Iterator[Finding]:
    """Judge the mutants in child processes, in order."""
    compressed_piece(), deflated(b"", 1)  # made once, here, for all child processes
    judge: Callable[[int], Verdict] = lambda number: judged(mutants[number], seeds)  # noqa: E731
    for found in worker.judge_all(len(mutants), judge, seconds):
        if found.verdict.column == BROKEN:
            raise RuntimeError(f"the suite itself failed on {mutants[found.number].name}:\n{found.verdict.words}")
        yield Finding(mutants[found.number], found.verdict)


def table_of(findings: list[Finding]) -> list[str]:
    """The table as Markdown: one line a class, and their sum."""
    counts = Counter((finding.mutant.target.row, finding.verdict.column) for finding in findings)
    lines = [f"| class | n | {' | '.join(COLUMNS)} |", "|---|--|" + "--|" * len(COLUMNS)]
    rows = [row for row in ROWS if any(row == name for name, _ in counts)]
    for row in rows:
        cells = [counts[row, column] for column in COLUMNS]
        lines.append(f"| {row} | {sum(cells)} | {' | '.join(map(str, cells))} |")
    sums = [sum(counts[row, column] for row in rows) for column in COLUMNS]
    return [*lines, f"| sum | {sum(sums)} | {' | '.join(map(str, sums))} |"]

"""By how much a linear probe on the encoder beats the same probe on random-init controls, persons resampled in pairs.

    python examples/encoder_drift/margin.py --label lesion --trained lesion.h5 --control lesion-r0.h5 lesion-r1.h5
    python examples/encoder_drift/margin.py --label contrast --tokens 40 --trained contrast.h5 --control contrast-r0.h5
    python examples/encoder_drift/margin.py --label contrast --persons 4 --trained contrast.h5 --control contrast-r0.h5

Files of `recon probe embed` on one table, with random-init controls of several seeds. Volumes of split fit choose and
fit the probe, those of split eval are judged. With --tokens the probe sees single tokens, so many drawn from every
volume, instead of the pooled features: what does one token know? With --persons the probe is fitted on so few persons
only, time and again on others, and the mean of its figures is told: how many labels does the encoder save?
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.encode.probes.evaluation import evaluation_rows
from recon.encode.probes.options import FitOptions
from recon.encode.probes.probe import fit_probe
from recon.encode.probes.statistics import accuracy, auc, bootstrap, calibration_error
from recon.encode.probes.store import Embeddings, read_embeddings
from recon.seeding import numpy_generator


def single_tokens(embeddings: Embeddings, count: int) -> Embeddings:
    """Every volume replaced by ``count`` of its tokens, drawn at random, each standing for a volume of its own."""
    rows = np.repeat(np.arange(len(embeddings.tokens)), count)
    generator = numpy_generator(0, "single-tokens")
    drawn = np.concatenate(
        [tokens[generator.integers(len(tokens), size=count)].astype(np.float32) for tokens in embeddings.tokens]
    )
    return replace(embeddings.select(rows), pooled=drawn)


def few_persons(embeddings: Embeddings, label: str, count: int, draws: int) -> Iterator[Embeddings]:
    """The volumes to be judged, and those of ``count`` persons to fit on who have every value of the label."""
    values, fit = embeddings.label(label), np.array([split == "fit" for split in embeddings.splits])
    people = np.array(embeddings.subjects)
    wanted = set(values[fit])
    able = [person for person in sorted(set(people[fit])) if set(values[fit & (people == person)]) == wanted]
    generator = numpy_generator(0, "few-persons")
    for _ in range(draws):
        chosen = generator.choice(able, count, replace=False)
        yield embeddings.select(np.flatnonzero(~fit | np.isin(people, chosen)))


def judged(
    path: Path, label: str, tokens: int, persons: int, draws: int
) -> tuple[NDArray[np.int64], list[NDArray[np.float64]], tuple[str, ...]]:
    """Labels [case], probabilities [case, class] of each draw, and persons [case], none of whom a probe saw."""
    embeddings = read_embeddings(path)
    if tokens:
        embeddings = single_tokens(embeddings, tokens)
    probabilities = []
    for part in few_persons(embeddings, label, persons, draws) if persons else [embeddings]:
        probe = fit_probe(part, FitOptions(label))
        chosen = part.select(evaluation_rows(part, probe, unseen_only=False))
        probabilities.append(probe.predict(chosen).probabilities)
    return np.searchsorted(np.array(probe.classes), chosen.label(label)), probabilities, chosen.subjects


def main() -> None:
    """Print the figures of every file, and the paired difference of the first to the mean of the controls."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--control", type=Path, nargs="+", required=True)
    parser.add_argument("--label", required=True)
    parser.add_argument(
        "--tokens", type=int, default=0, help="probe so many single tokens a volume; 0: pooled features"
    )
    parser.add_argument("--persons", type=int, default=0, help="fit on so many persons only, at least 4; 0: on all")
    parser.add_argument("--draws", type=int, default=20, help="of those persons")
    parser.add_argument("--repeats", type=int, default=2000)
    given = parser.parse_args()
    found = [
        judged(path, given.label, given.tokens, given.persons, given.draws) for path in (given.trained, *given.control)
    ]
    labels, _, persons = found[0]
    if any(not np.array_equal(labels, other) or persons != who for other, _, who in found):
        raise SystemExit("the files hold different volumes; embed one table with every encoder")

    def figures(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        areas = [np.mean([auc(labels[rows], each[rows]) for each in draws]) for _, draws, _ in found]
        rights = [np.mean([accuracy(labels[rows], each[rows]) for each in draws]) for _, draws, _ in found]
        errors = [np.mean([calibration_error(labels[rows], each[rows]) for each in draws]) for _, draws, _ in found]
        differences = [values[0] - np.mean(values[1:]) for values in (areas, rights)]
        return np.array([*areas, *rights, *errors, *differences])

    intervals = bootstrap(figures, persons, given.repeats, numpy_generator(0, "margin"))
    count = len(found)
    print(f"{given.label}: {len(labels)} cases of {len(set(persons))} unseen persons; 95 % intervals over persons")
    print(f"{'':<24}{'AUC':>26}{'accuracy':>26}{'calibration error':>26}")
    for index, path in enumerate((given.trained, *given.control)):
        columns = (intervals[index], intervals[count + index], intervals[2 * count + index])
        texts = [f"{column.value:.3f} ({column.low:.3f} to {column.high:.3f})" for column in columns]
        print(f"{path.stem:<24}" + "".join(f"{text:>26}" for text in texts))
    for name, column in zip(("AUC", "accuracy"), intervals[-2:], strict=True):
        interval = f"{column.value:+.3f} ({column.low:+.3f} to {column.high:+.3f})"
        print(f"paired difference to the mean control, {name}: {interval}")


if __name__ == "__main__":
    main()

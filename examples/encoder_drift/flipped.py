"""Wrong training labels: what a linear probe loses by them, and what dropping the doubtful volumes gives back.

    python examples/encoder_drift/flipped.py OUT        # after lesions.py OUT, whose embeddings are used

Labels of 5 to 30 % of the volumes to fit on are turned round, several times at random. The same share is dropped by
probes on other persons, by their disagreement with the label or by their uncertainty. AUC on unseen persons, the mean
over the draws; differences to no dropping are paired by person. A simulated kind of error: real wrong labels are not
random.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lesions import embedded
from numpy.typing import NDArray

from recon.encode.probes.evaluation import evaluation_rows
from recon.encode.probes.options import FitOptions
from recon.encode.probes.probe import fit_probe
from recon.encode.probes.statistics import Interval, auc, bootstrap
from recon.encode.probes.store import Embeddings
from recon.seeding import numpy_generator

WAYS = ("nothing dropped", "disagreement", "uncertainty")


def turned_round(embeddings: Embeddings, share: float, draw: int) -> Embeddings:
    """The same with the labels of so many volumes of split fit turned round."""
    rows = np.flatnonzero(np.array(embeddings.splits) == "fit")
    wrong = numpy_generator(draw, "flipped").choice(rows, round(share * len(rows)), replace=False)
    labels = embeddings.labels["lesion"].copy()
    labels[wrong] = 1 - labels[wrong]
    return replace(embeddings, labels={"lesion": labels})


def main() -> None:
    """Print a line for every share of wrong labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of lesions.py")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.2, 0.3], help="turned round")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    embeddings = embedded(given.out / "lesion.csv", given.out, 0)["recon-small"]
    for share in given.shares:
        said: dict[str, list[NDArray[np.float64]]] = {way: [] for way in WAYS}
        for draw in range(given.draws if share else 1):
            spoiled = turned_round(embeddings, share, draw)
            for way in WAYS:
                drop = {} if way == WAYS[0] else {"drop": share or 0.1, "drop_by": way}
                probe = fit_probe(spoiled, FitOptions("lesion", **drop))  # type: ignore[arg-type]
                chosen = embeddings.select(evaluation_rows(embeddings, probe, unseen_only=False))
                said[way].append(probe.predict(chosen).probabilities)
        found = intervals(chosen, said, given.repeats)
        shown = [f"{way} {v.value:.3f}" for way, v in zip(WAYS, found[:3], strict=True)]
        shown += [
            f"{way} - none {v.value:+.3f} ({v.low:+.3f} to {v.high:+.3f})"
            for way, v in zip(WAYS[1:], found[3:], strict=True)
        ]
        print(f"{share:.0%} turned round: {'; '.join(shown)}", flush=True)


def intervals(chosen: Embeddings, said: dict[str, list[NDArray[np.float64]]], repeats: int) -> list[Interval]:
    """Mean AUC over the draws by way, then the differences of the others to the first."""
    labels = chosen.label("lesion")

    def figures(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        areas = [float(np.mean([auc(labels[rows], each[rows]) for each in draws])) for draws in said.values()]
        return np.array([*areas, areas[1] - areas[0], areas[2] - areas[0]])

    return bootstrap(figures, chosen.subjects, repeats, numpy_generator(0, "flipped-intervals"))


if __name__ == "__main__":
    main()

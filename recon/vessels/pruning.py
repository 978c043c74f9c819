"""Two judges of branches fitted on the same features: graph attention, and logistic regression by branch as control."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from recon.configuration import from_mapping
from recon.errors import ReconError
from recon.foreign.json_file import read_json
from recon.model_folder import write_model_folder
from recon.seeding import stream_seed
from recon.version import __version__
from recon.vessels.attention import BranchNetwork, fitted_network
from recon.vessels.graph import FEATURES, VesselGraph
from recon.vessels.options import PruningOptions

FORMAT = "recon-vessel-pruning-1"
FOLDS = 3
JUDGES = ("keep-all", "logistic", "attention")


@dataclass(frozen=True)
class TracedCase:
    """The graph of one angiogram, which of its branches are vessels, and whose it is."""

    scan: str
    person: str
    method: str
    acceleration: float
    graph: VesselGraph
    truth: NDArray[np.bool_]


@dataclass(frozen=True)
class Pruning:
    """Both judges. ``mean``, ``std``: of the features; ``weights``, ``offset``: the logistic regression;
    ``thresholds``: log odds from which a branch is kept, by judge; ``persons``: those it was fitted on."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    weights: NDArray[np.float64]
    offset: float
    network: BranchNetwork
    thresholds: dict[str, float]
    options: PruningOptions
    persons: tuple[str, ...]

    def kept(self, graph: VesselGraph, judge: str) -> NDArray[np.bool_]:
        """Which branches a judge (of ``JUDGES``) keeps."""
        if judge == "keep-all":
            return np.ones(len(graph.voxels), bool)
        return self.odds(graph, judge) >= self.thresholds[judge]

    def odds(self, graph: VesselGraph, judge: str) -> NDArray[np.float64]:
        """Log odds by branch."""
        features = (graph.features - self.mean) / self.std
        if judge == "logistic":
            return np.asarray(features @ self.weights + self.offset)
        with torch.no_grad():
            found = self.network(torch.from_numpy(features).float(), torch.from_numpy(graph.adjacent))
        return found.double().numpy()


def fit_pruning(cases: Sequence[TracedCase], options: PruningOptions) -> Pruning:
    """Fit both judges on all cases; each one's threshold is that of the best F1 on persons it was not fitted on: the
    persons take turns in ``FOLDS`` groups to be left out (with a single person, its own branches serve).

    Raises ReconError when the branches are not of both kinds.
    """
    cases = [case for case in cases if len(case.truth)]
    whole = _fitted(cases, options)
    persons = whole.persons
    held: list[tuple[Pruning, list[TracedCase]]] = [(whole, list(cases))]
    if len(persons) > 1:
        held = []
        for fold in range(min(FOLDS, len(persons))):
            left = set(persons[fold::FOLDS])
            rest = [case for case in cases if case.person not in left]
            held.append((_fitted(rest, options), [case for case in cases if case.person in left]))
    truth = np.concatenate([case.truth for _, left_out in held for case in left_out])
    thresholds = {}
    for judge in JUDGES[1:]:
        odds = np.concatenate([fitted.odds(case.graph, judge) for fitted, left_out in held for case in left_out])
        thresholds[judge] = best_threshold(odds, truth)
    return replace(whole, thresholds=thresholds)


def _fitted(cases: Sequence[TracedCase], options: PruningOptions) -> Pruning:
    """Both judges on these cases, without thresholds."""
    truth = np.concatenate([case.truth for case in cases]) if cases else np.zeros(0, bool)
    if not truth.any() or truth.all():
        raise ReconError("the graphs to fit on need true and false branches; trace more, or give more scans")
    stacked = np.concatenate([case.graph.features for case in cases])
    mean, std = stacked.mean(axis=0), stacked.std(axis=0)
    std = np.where(std > 1e-9, std, 1.0)
    control = LogisticRegression(class_weight="balanced", max_iter=2000).fit((stacked - mean) / std, truth)
    graphs = [
        (
            torch.from_numpy((case.graph.features - mean) / std).float(),
            torch.from_numpy(case.graph.adjacent),
            torch.from_numpy(case.truth).float(),
        )
        for case in cases
    ]
    network = fitted_network(graphs, options, stream_seed(options.seed, "vessel-pruning") % 2**31)
    persons = tuple(sorted({case.person for case in cases}))
    return Pruning(mean, std, control.coef_[0], float(control.intercept_[0]), network, {}, options, persons)


def best_threshold(odds: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """The value from which keeping gives the best F1; of several, the largest."""
    order = np.argsort(-odds, kind="stable")
    hits = np.cumsum(truth[order])
    kept = np.arange(1, len(odds) + 1)
    scores = 2 * hits / (kept + truth.sum())
    return float(odds[order][int(np.argmax(scores))])


def f1(true_kept: float, kept: float, true: float) -> float:
    """``2 TP / (kept + true)``; 1 when nothing is true and nothing kept."""
    return 2 * true_kept / (kept + true) if kept + true else 1.0


def write_pruning(folder: Path, pruning: Pruning) -> None:
    """Write ``model.safetensors``, ``config.json`` and a card ``README.md``. Raises ReconError."""
    tensors = {f"network.{name}": value for name, value in pruning.network.state_dict().items()}
    for name in ("mean", "std", "weights"):
        tensors[name] = torch.from_numpy(np.ascontiguousarray(getattr(pruning, name)))
    config = {
        "format": FORMAT, "features": list(FEATURES), "offset": pruning.offset, "thresholds": pruning.thresholds,
        "options": asdict(pruning.options), "persons": list(pruning.persons), "version": __version__,
    }  # fmt: skip
    card = CARD.format(persons=len(pruning.persons), features=len(FEATURES))
    write_model_folder(folder, tensors, config, card)


def read_pruning(folder: Path) -> Pruning:
    """Read what ``write_pruning`` wrote, everything checked. Raises ReconError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_json(folder / "config.json")
    where = folder / "model.safetensors"
    try:
        if config["format"] != FORMAT or config["features"] != list(FEATURES):
            raise ValueError("not of this version of recon")
        options = from_mapping(PruningOptions, config["options"], "its options")
        tensors = load_file(where)
        network = BranchNetwork(len(FEATURES), options.width, options.heads)
        network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
        arrays = {name: tensors[name].double().numpy() for name in ("mean", "std", "weights")}
        thresholds = {judge: float(config["thresholds"][judge]) for judge in JUDGES[1:]}
        if not isinstance(config["persons"], list):
            raise TypeError("its persons are no list")
        persons = tuple(str(person) for person in config["persons"])
        offset = float(config["offset"])
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError, ReconError) as error:
        said = " ".join(str(error).split())[:200]
        raise ReconError(f"{folder}: damaged pruning ({type(error).__name__}: {said}); fit it again") from error
    numbers = [
        *arrays.values(),
        *(value.numpy() for value in network.state_dict().values()),
        [*thresholds.values(), offset],
    ]
    if any(array.shape != (len(FEATURES),) for array in arrays.values()) or not all(
        np.isfinite(array).all() for array in numbers
    ):
        raise ReconError(f"{folder}: damaged pruning (a wrong size, or numbers that are not finite); fit it again")
    return Pruning(
        **arrays, offset=offset, network=network.eval(), thresholds=thresholds, options=options, persons=persons
    )


CARD = """# Pruning of over-traced vessel graphs

Fitted by `recon vessels fit` on graphs of {persons} persons, {features} features a branch: a graph attention network
and, as control, logistic regression by branch. Where the scans were those of `recon vessels simulate`, everything it
saw is simulated; it is no tool for patients. Thresholds are those of the best F1 on persons left out in turn.
"""

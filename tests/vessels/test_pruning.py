"""Graphs of drawn crosses, attention that only neighbours reach, F1 by hand, models on disk, and the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.errors import ReconError
from recon.vessels.attention import BranchNetwork
from recon.vessels.evaluation import pruning_table
from recon.vessels.graph import FEATURES, VesselGraph, branch_truth, trace
from recon.vessels.options import PruningOptions
from recon.vessels.pruning import TracedCase, best_threshold, f1, fit_pruning, read_pruning, write_pruning

OPTIONS = PruningOptions(epochs=8, width=4, heads=1, repeats=200)


def test_a_drawn_cross_has_four_branches_that_meet() -> None:
    image = np.zeros((9, 40, 40))
    image[4, 20, 5:36] = image[4, 5:36, 20] = 1
    graph = trace(image, 0.3)
    assert len(graph.voxels) == 4
    assert graph.adjacent.sum() == 12  # each meets the three others
    assert graph.features.shape == (4, len(FEATURES))
    assert (graph.features[:, FEATURES.index("neighbours")] >= 1).all()
    along_phase = sorted(graph.features[:, FEATURES.index("along phase")].round(1))
    assert along_phase[:2] == [0, 0]
    assert along_phase[2:] == [1, 1]
    vessels = np.zeros(image.shape, bool)
    vessels[4, 20, 5:36] = True
    assert branch_truth(graph, vessels).sum() == 2


def test_an_empty_image_has_no_branches() -> None:
    graph = trace(np.zeros((6, 20, 20)), 0.1)
    assert graph.features.shape == (0, len(FEATURES))
    assert len(branch_truth(graph, np.zeros((6, 20, 20), bool))) == 0


def test_attention_reaches_two_junctions_far_and_no_farther() -> None:
    torch.manual_seed(0)
    network = BranchNetwork(3, 4, 2)
    chain = torch.diag(torch.ones(4), 1).bool()
    features = torch.randn(5, 3, requires_grad=True)
    network(features, chain | chain.T)[0].backward()
    assert features.grad is not None
    reached = features.grad.abs().sum(dim=1) > 0
    assert reached.tolist() == [True, True, True, False, False]


def test_attention_does_not_hang_on_the_order_of_branches() -> None:
    torch.manual_seed(0)
    network = BranchNetwork(3, 4, 2)
    features, adjacent = torch.randn(6, 3), torch.rand(6, 6) > 0.5
    adjacent = adjacent | adjacent.T
    order = torch.randperm(6)
    there = network(features[order], adjacent[order][:, order])
    assert torch.allclose(network(features, adjacent)[order], there, atol=1e-6)


def test_f1_and_its_best_threshold_by_hand() -> None:
    assert f1(2, 3, 4) == pytest.approx(4 / 7)
    assert f1(0, 0, 0) == 1
    odds, truth = np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False])
    assert best_threshold(odds, truth) == 1.0  # 2 of 3 kept are true, 2 true: F1 .8


def case(person: str, seed: int, rate: float = 4.0) -> TracedCase:
    """Two cliques of five branches: one of vessels. What a branch shows is noisy, what its neighbours show is not."""
    generator = np.random.default_rng(seed)
    truth = np.repeat([True, False], 5)
    features = generator.normal(size=(10, len(FEATURES))) + 1.0 * truth[:, None] * (np.arange(len(FEATURES)) == 2)
    adjacent = truth[:, None] == truth[None]
    np.fill_diagonal(adjacent, False)
    graph = VesselGraph((np.zeros((3, 3), int),) * 10, features, adjacent)
    return TracedCase(person, person, "zero-filled", rate, graph, truth)


def test_attention_gains_where_neighbours_tell(tmp_path: Path) -> None:
    pruning = fit_pruning([case(f"a{n}", n) for n in range(25)], OPTIONS)
    unseen = [case(f"b{n}", 1000 + n) for n in range(20)]
    row = pruning_table(unseen, pruning, 200, 0)[0]
    assert (row["persons"], row["branches"], row["vessels"]) == (20, 200, 100)
    assert row["f1_keep_all"] == pytest.approx(2 / 3)
    assert row["gain_low"] > 0
    write_pruning(tmp_path, pruning)
    again = read_pruning(tmp_path)
    assert pruning_table(unseen, again, 200, 0)[0] == pytest.approx(row)
    assert "simulated" in (tmp_path / "README.md").read_text()
    with pytest.raises(ReconError, match="leakage"):
        pruning_table([case("a3", 3)], pruning, 200, 0)


def test_the_same_seed_fits_the_same_network() -> None:
    first, second = (fit_pruning([case(f"a{n}", n) for n in range(3)], OPTIONS) for _ in range(2))
    for one, other in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_damaged_models_are_refused(tmp_path: Path) -> None:
    write_pruning(tmp_path, fit_pruning([case("a", 0)], PruningOptions(epochs=1, width=4)))
    config = json.loads((tmp_path / "config.json").read_text())
    for wrong in ({"format": "other"}, {"offset": "x"}, {"features": ["length"]}, {"options": {"width": 0}},
                  {"options": {"width": 5}}, {"thresholds": {}}, {"offset": float("nan")},
                  {"options": {"width": 10**9}}, {"options": {"width": "4"}}, {"persons": "abc"}):  # fmt: skip
        (tmp_path / "config.json").write_text(json.dumps({**config, **wrong}))
        with pytest.raises(ReconError, match="fit it again"):
            read_pruning(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"none")
    with pytest.raises(ReconError, match="fit it again"):
        read_pruning(tmp_path)


def test_graphs_of_one_kind_cannot_be_fitted_on() -> None:
    one = case("a", 0)
    alike = TracedCase("a", "a", "sense", 1.0, one.graph, np.ones(10, bool))
    with pytest.raises(ReconError, match="true and false branches"):
        fit_pruning([alike], OPTIONS)
    with pytest.raises(ReconError, match="true and false branches"):
        fit_pruning([], OPTIONS)


def test_from_simulated_scans_to_a_table(tmp_path: Path, run_cli) -> None:
    small = ("--size", 48, "--slices", 12, "--coils", 2)
    for folder, first in (("fit", 0), ("eval", 2)):
        words = ("--out", tmp_path / folder, "--subjects", 2, "--first", first, *small, "--json")
        made = run_cli("vessels", "simulate", *words)
        assert made.code == 0, made.err
        assert made.json["scans"][0] == str(tmp_path / folder / f"tree-00{first}.h5")
    words = (tmp_path / "fit", "--truth", tmp_path / "fit", "--out", tmp_path / "model", "--epochs", 2, "--json")
    fitted = run_cli("vessels", "fit", *words)
    assert fitted.code == 0, fitted.err
    assert 0 < fitted.json["vessels"] < fitted.json["branches"]
    words = (tmp_path / "eval", "--truth", tmp_path / "eval", "--model", tmp_path / "model")
    row = run_cli("vessels", "eval", *words, "--json").json["rows"][0]
    assert (row["method"], row["acceleration"], row["persons"]) == ("fully sampled", 1.0, 2)
    assert row["gain_low"] is None  # two persons
    assert "vessels that were not traced" in run_cli("vessels", "eval", *words).out


def test_trees_of_two_seeds_are_not_mixed_and_their_masks_are_no_scans(tmp_path: Path, run_cli) -> None:
    words = ("vessels", "simulate", "--out", tmp_path / "trees", "--size", 48, "--slices", 12, "--coils", 2)
    assert run_cli(*words).code == 0
    before = (tmp_path / "trees" / "tree-000.h5").read_bytes()
    other = run_cli(*words, "--seed", 1)
    assert (other.code, other.out) == (2, "")
    assert f"{tmp_path / 'trees' / 'tree-000.h5'}: is a tree of other settings" in other.err
    assert run_cli(*words, "--subjects", 2).code == 0, "an interrupted run is begun again"
    assert (tmp_path / "trees" / "tree-000.h5").read_bytes() == before
    fast = run_cli("undersample", tmp_path / "trees", "--acceleration", 2, "--out", tmp_path / "fast", "--json")
    assert (fast.code, fast.json["refused"], len(fast.json["scans"])) == (0, [], 2)

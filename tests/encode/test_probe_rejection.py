"""Rejection against chance and maximum probability, and training labels that are wrong."""

from dataclasses import replace

import numpy as np
import pytest

from recon.encode.probes.evaluation import evaluate_probe
from recon.encode.probes.filtering import cross_fitted, least_doubtful
from recon.encode.probes.options import EvaluationOptions, FitOptions, read_rates
from recon.encode.probes.probe import fit_probe
from recon.encode.probes.statistics import auc, kept_after_rejection, rejection_area
from recon.encode.probes.store import Embeddings, write_embeddings
from recon.encode.probes.table import find_probe
from recon.errors import ReconError
from tests.encode.test_probes import make_embeddings

RATES = read_rates("0:0.5:0.05")


def test_random_rejection_gains_nothing_and_a_known_one_does() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=3000)
    noise = generator.uniform(0.2, 3, size=3000)  # how unsure each case is
    scores = 1 / (1 + np.exp(-(2 * labels - 1 + noise * generator.standard_normal(3000))))
    chances = np.stack([1 - scores, scores], axis=1)
    whole = auc(labels, chances)
    chance = [rejection_area(labels, chances, generator.uniform(size=3000), RATES) - whole for _ in range(5)]
    assert abs(np.mean(chance)) < 0.005
    assert rejection_area(labels, chances, noise, RATES) - whole > 0.04
    assert np.isnan(rejection_area(labels, chances, labels.astype(float), (0.9,)))


def test_prevalence_and_areas_stand_in_the_evaluation(run_cli, tmp_path) -> None:
    embeddings = make_embeddings(persons=60, signal=4.0)
    probe = fit_probe(embeddings, FitOptions("lesion"))
    group = evaluate_probe(probe, embeddings, EvaluationOptions(reject=RATES, repeats=60))[0]
    chosen = embeddings.select([row for row in range(240) if embeddings.splits[row] == "eval" and row % 2 == 0])
    said = probe.predict(chosen)
    kept = kept_after_rejection(said.uncertainty, 0.5)
    assert group.rejection[-1].prevalence[1] == pytest.approx(chosen.label("lesion")[kept].mean())
    assert sum(group.rejection[3].prevalence) == pytest.approx(1)
    assert group.area is not None
    # A linear probe's uncertainty is 1 minus its largest probability.
    assert group.area.difference.value == 0
    assert group.area.uncertainty.value == pytest.approx(
        np.mean([point.auc.value for point in group.rejection]) - group.auc.value
    )
    assert group.uncertainty_difference is None
    write_embeddings(tmp_path / "e.h5", embeddings)
    words = ("probe", "fit", tmp_path / "e.h5", "--label", "lesion", "--out", tmp_path / "p.safetensors")
    assert run_cli(*words, "--drop", 0.1).code == 0
    judge = ("probe", "eval", tmp_path / "e.h5", "--probe", tmp_path / "p.safetensors", "--repeats", 50)
    text = run_cli(*judge, "--by", "acceleration", "--reject", "0:0.5:0.25").out
    assert "mean gain over random rejection" in text
    assert "4x: uncertainty" in text
    assert run_cli(*words, "--drop", 0.95).code == 2


def test_uncertainty_rises_where_the_lesion_is_half_lost() -> None:
    embeddings = make_embeddings(persons=50, signal=6.0, lost=0.5)
    probe = fit_probe(embeddings, FitOptions("lesion", "evidential"))
    fourfold = evaluate_probe(probe, embeddings, EvaluationOptions(by="acceleration", repeats=60))[1]
    assert fourfold.uncertainty_difference is not None
    assert fourfold.uncertainty_difference.low > 0


def flipped(embeddings: Embeddings, share: float) -> tuple[Embeddings, np.ndarray]:
    """Labels of some volumes to fit on turned round, and which."""
    generator = np.random.default_rng(1)
    rows = np.flatnonzero((np.array(embeddings.splits) == "fit") & (embeddings.accelerations == 1))
    wrong = generator.choice(rows, int(share * len(rows)), replace=False)
    labels = embeddings.labels["lesion"].copy()
    labels[wrong] = 1 - labels[wrong]
    return replace(embeddings, labels={"lesion": labels}), wrong


def test_wrong_labels_are_found_by_the_probes_of_other_persons() -> None:
    embeddings, wrong = flipped(make_embeddings(persons=120, signal=12.0), 0.2)
    rows = np.flatnonzero((np.array(embeddings.splits) == "fit") & (embeddings.accelerations == 1))
    chosen = embeddings.select(rows)
    kept = least_doubtful(chosen, chosen.label("lesion"), find_probe("linear"), 0.2, "disagreement", 0)
    dropped = np.setdiff1d(rows, rows[kept])
    assert len(np.intersect1d(dropped, wrong)) > 0.8 * len(wrong)
    # A probe that is unsure does not know which label is wrong.
    blind = least_doubtful(chosen, chosen.label("lesion"), find_probe("linear"), 0.2, "uncertainty", 0)
    assert len(np.intersect1d(np.setdiff1d(rows, rows[blind]), wrong)) < 0.5 * len(wrong)
    assert np.array_equal(
        least_doubtful(chosen, chosen.label("lesion"), find_probe("linear"), 0, "uncertainty", 0), np.arange(120)
    )


def test_nobody_is_judged_by_a_probe_that_saw_the_person() -> None:
    embeddings = make_embeddings(persons=30, signal=0.0)
    one = embeddings.select([row for row in range(len(embeddings.pooled)) if embeddings.accelerations[row] == 1])
    labels = one.label("lesion")
    # Features that say nothing but who it is would be learned by a probe that saw the person.
    names = np.array([hash(name) % 1000 for name in one.subjects], np.float32)
    known = replace(one, pooled=np.eye(60, dtype=np.float32)[np.argsort(np.argsort(names, kind="stable"))])
    said = cross_fitted(known, labels, find_probe("linear"), 0)
    assert auc(labels, said.probabilities) == pytest.approx(0.5, abs=0.2)
    with pytest.raises(ReconError, match="too few persons"):
        cross_fitted(one.select([0, 3]), labels[[0, 3]], find_probe("linear"), 0)

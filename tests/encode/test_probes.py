"""Probes on embeddings with a known signal: fitting, splits by person, AUC, rejection, calibration, files, commands."""

import csv
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch.distributions import Dirichlet, kl_divergence

from recon.encode.encoders import load_encoder
from recon.encode.probes.evaluation import evaluate_probe
from recon.encode.probes.evidential import divergence_from_uniform, evidential_loss
from recon.encode.probes.labels import read_labels
from recon.encode.probes.options import EvaluationOptions, FitOptions, read_rates
from recon.encode.probes.prediction import Prediction
from recon.encode.probes.probe import fit_probe, read_probe, write_probe
from recon.encode.probes.statistics import (
    auc,
    bootstrap,
    calibration_error,
    kept_after_rejection,
    person_resamples,
)
from recon.encode.probes.store import (
    Embeddings,
    embed_table,
    embed_with_each,
    pseudonym,
    read_embeddings,
    write_embeddings,
)
from recon.encode.probes.table import PROBES, ProbeKind
from recon.errors import ReconError
from tests.encode.conftest import AFFINE, make_head, save_nifti


def make_embeddings(
    persons: int = 60, signal: float = 3.0, split: bool = True, seed: int = 0, lost: float = 0.0
) -> Embeddings:
    """Two volumes a person, one with a lesion: a token in twelve moves by ``signal``; 4x loses ``lost``."""
    generator = np.random.default_rng(seed)
    tokens, pooled, subjects, cases, accelerations, splits, labels = [], [], [], [], [], [], []
    for person in range(persons):
        for sick in (0, 1):
            volume = generator.standard_normal((12 + person % 3, 10))
            volume[generator.integers(12), 3] += signal * sick
            for acceleration in (1.0, 4.0):
                seen = volume.copy()
                if acceleration > 1 and sick:
                    row = int(np.argmax(seen[:, 3]))
                    seen[row, 3] -= lost * signal
                tokens.append(seen.astype(np.float16))
                pooled.append(seen.mean(axis=0))
                subjects.append(pseudonym(str(person)))
                cases.append(f"{person}-{sick}")
                accelerations.append(acceleration)
                splits.append(("fit" if person < persons // 2 else "eval") if split else "")
                labels.append(sick)
    return Embeddings(
        *("test", "hash", np.array(pooled, np.float32), tuple(tokens), tuple(subjects), tuple(cases)),
        *(np.array(accelerations), tuple(splits), {"lesion": np.array(labels)}),
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=4, max_size=40))
def test_auc_is_scikit_learn_s(cases: list[tuple[bool, int]]) -> None:
    labels = np.array([case[0] for case in cases], int)
    scores = np.array([case[1] / 8 for case in cases])
    ours = auc(labels, np.stack([1 - scores, scores], axis=1))
    if len(np.unique(labels)) < 2:
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(roc_auc_score(labels, scores))


def test_auc_of_several_classes_is_one_against_the_rest() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(3, size=80)
    probabilities = generator.dirichlet([1, 1, 1], 80)
    expected = roc_auc_score(labels, probabilities, multi_class="ovr")
    assert auc(labels, probabilities) == pytest.approx(expected)


def test_calibration_error_of_a_calibrated_and_an_overconfident_probe() -> None:
    generator = np.random.default_rng(0)
    truth = generator.uniform(size=40000)
    labels = (generator.uniform(size=40000) < truth).astype(int)
    assert calibration_error(labels, np.stack([1 - truth, truth], axis=1)) < 0.01
    sure = np.where(truth > 0.5, 0.99, 0.01)
    # Accuracy of a confidence uniform in [0.5, 1] is 0.75; 0.99 is claimed.
    assert calibration_error(labels, np.stack([1 - sure, sure], axis=1)) == pytest.approx(0.24, abs=0.01)


def judged(**options: Any) -> EvaluationOptions:
    return EvaluationOptions(by="acceleration", **options)


def test_rejection_keeps_the_surest() -> None:
    assert kept_after_rejection(np.array([0.9, 0.1, 0.5, 0.2]), 0.5).tolist() == [1, 3]
    assert len(kept_after_rejection(np.zeros(20), 0.05)) == 19
    assert read_rates("0:0.5:0.05") == tuple(round(0.05 * index, 10) for index in range(11))
    for text in ("0:0.5", "0.5:0:0.1", "0:1.5:0.1", "a:b:c"):
        with pytest.raises(ReconError, match="--reject"):
            read_rates(text)


def test_bootstrap_draws_whole_persons_and_covers() -> None:
    persons = ("a", "a", "b", "c", "c", "c")
    for rows in person_resamples(persons, 20, np.random.default_rng(0)):
        counts = np.bincount(rows, minlength=6)
        assert counts[0] == counts[1]
        assert counts[3] == counts[4] == counts[5]
    covered = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        shift = np.repeat(generator.standard_normal(40), 3)  # three equal rows a person: 40 observations, not 120
        found = bootstrap(
            lambda rows, shift=shift: np.array([shift[rows].mean()]),
            tuple(str(index // 3) for index in range(120)),
            200,
            generator,
        )[0]
        covered += found.low <= 0 <= found.high
    assert covered >= 50  # 95 % of 60 is 57; rows resampled one by one would cover about 45


def test_divergence_is_torch_s() -> None:
    alpha = torch.tensor([[1.0, 1.0, 1.0], [2.5, 1.0, 7.0]], dtype=torch.float64)
    expected = kl_divergence(Dirichlet(alpha), Dirichlet(torch.ones_like(alpha)))
    assert torch.allclose(divergence_from_uniform(alpha), expected)
    assert float(divergence_from_uniform(alpha)[0]) == pytest.approx(0, abs=1e-12)


def test_evidential_loss_prefers_right_evidence_and_punishes_wrong() -> None:
    wanted = torch.tensor([0])
    right, none, wrong = (
        float(evidential_loss(torch.tensor([values]), wanted, 1.0))
        for values in ([9.0, -9.0], [-9.0, -9.0], [-9.0, 9.0])
    )
    assert right < none < wrong


@pytest.mark.parametrize("kind", list(PROBES))
def test_every_probe_finds_the_signal_in_unseen_persons(kind: str, tmp_path: Path) -> None:
    embeddings = make_embeddings(signal=6.0)
    probe = fit_probe(embeddings, FitOptions("lesion", kind))
    write_probe(tmp_path / "probe.safetensors", probe)
    again = read_probe(tmp_path / "probe.safetensors")
    assert again.persons == probe.persons
    reference, fourfold = evaluate_probe(again, embeddings, judged(repeats=100))
    assert (reference.acceleration, fourfold.acceleration) == (1, 4)
    assert reference.cases == 60
    assert reference.persons == 30
    assert reference.auc.value > (0.75 if kind == "linear" else 0.95)  # pooled, the ideal is Phi(6 / sqrt(24)) = 0.89
    assert reference.auc.low <= reference.auc.value <= reference.auc.high
    assert fourfold.auc_difference is not None
    assert fourfold.auc_difference.value == 0  # nothing was lost
    assert reference.calibration_error.value < 0.35
    predictions = [p.predict(embeddings).probabilities for p in (probe, again)]
    assert np.array_equal(*predictions)


def test_acceleration_that_loses_the_lesion_loses_the_probe() -> None:
    embeddings = make_embeddings(signal=6.0, lost=1.0)
    _, fourfold = evaluate_probe(fit_probe(embeddings, FitOptions("lesion")), embeddings, judged(repeats=200))
    assert fourfold.auc.value == pytest.approx(0.5, abs=0.15)
    assert fourfold.auc_difference is not None
    assert fourfold.auc_difference.high < -0.2
    assert fourfold.auc_reference == pytest.approx(fourfold.auc.value - fourfold.auc_difference.value)


def test_rejection_by_a_probe_that_knows_when_it_does_not_know() -> None:
    embeddings = make_embeddings(persons=150, signal=4.0)
    probe = fit_probe(embeddings, FitOptions("lesion"))
    reference = evaluate_probe(probe, embeddings, judged(reject=read_rates("0:0.5:0.05"), repeats=200))[0]
    assert [point.kept for point in reference.rejection][::5] == [150, 113, 75]
    assert reference.rejection[5].auc.value > reference.rejection[0].auc.value
    assert reference.rises is True
    # The same rejection by a coin is no better than none, and a reversed one is seen to fall.
    reversed_probe = replace(probe)
    original = probe.predict(embeddings)

    class Reversed:
        def __getattr__(self, name: str) -> object:
            return getattr(reversed_probe, name)

        def predict(self, chosen: Embeddings) -> object:
            return replace(probe.predict(chosen), uncertainty=-probe.predict(chosen).uncertainty)

    assert original.uncertainty.max() <= 0.5
    fallen = evaluate_probe(Reversed(), embeddings, judged(reject=read_rates("0:0.5:0.05"), repeats=200))[0]  # type: ignore[arg-type]
    assert fallen.rises is False


def test_leakage_is_an_error_and_unseen_leaves_it_out() -> None:
    embeddings = make_embeddings(split=False)
    probe = fit_probe(embeddings, FitOptions("lesion", "linear", hold_out=0.4))
    with pytest.raises(ReconError, match=r"leakage: \d+ person"):
        evaluate_probe(probe, embeddings, judged(repeats=50))
    reference = evaluate_probe(probe, embeddings, judged(unseen=True, repeats=50))[0]
    assert reference.persons == 60 - len(probe.persons)
    everyone = replace(embeddings, splits=("eval",) * len(embeddings.pooled))
    with pytest.raises(ReconError, match="leakage"):
        evaluate_probe(probe, everyone, judged(repeats=50))


def test_what_cannot_be_fitted_or_judged() -> None:
    embeddings = make_embeddings(persons=12)
    with pytest.raises(ReconError, match="no label 'stroke'"):
        fit_probe(embeddings, FitOptions("stroke"))
    healthy = replace(embeddings, labels={"lesion": np.zeros(len(embeddings.pooled), int)})
    with pytest.raises(ReconError, match="1 class"):
        fit_probe(healthy, FitOptions("lesion"))
    probe = fit_probe(embeddings, FitOptions("lesion"))
    with pytest.raises(ReconError, match="same encoder"):
        evaluate_probe(probe, replace(embeddings, weights_hash="other"), judged(repeats=50))
    with pytest.raises(ReconError, match="not every class"):
        evaluate_probe(probe, healthy, judged(repeats=50))
    with pytest.raises(ReconError, match="value 7"):
        evaluate_probe(
            probe, replace(embeddings, labels={"lesion": embeddings.labels["lesion"] * 7}), judged(repeats=50)
        )


def test_embeddings_file_round_trip_and_damage(tmp_path: Path) -> None:
    embeddings = make_embeddings(persons=5)
    path = tmp_path / "e.h5"
    write_embeddings(path, embeddings)
    again = read_embeddings(path)
    assert np.array_equal(again.pooled, embeddings.pooled)
    assert all(np.array_equal(a, b) for a, b in zip(again.tokens, embeddings.tokens, strict=True))
    assert (again.subjects, again.cases, again.splits) == (embeddings.subjects, embeddings.cases, embeddings.splits)
    assert np.array_equal(again.labels["lesion"], embeddings.labels["lesion"])
    assert again.coordinates == ()  # as in files from before
    placed = replace(
        embeddings, coordinates=tuple(np.ones((len(t), 3), np.float32) * n for n, t in enumerate(embeddings.tokens))
    )
    write_embeddings(path, placed)
    again = read_embeddings(path).select([2])
    assert np.array_equal(again.coordinates[0], placed.coordinates[2])
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ReconError, match=r"e\.h5"):
        read_embeddings(path)
    spoiled = replace(embeddings, pooled=np.full_like(embeddings.pooled, np.nan))
    write_embeddings(path, spoiled)
    with pytest.raises(ReconError, match="NaN"):
        read_embeddings(path)
    (tmp_path / "p.safetensors").write_bytes(b"nothing")
    with pytest.raises(ReconError, match="not a probe"):
        read_probe(tmp_path / "p.safetensors")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a.nii.gz,,1,1"], "no subject"),
        (["absent.nii.gz,x,1,1"], "no such file 'absent"),
        (["a.nii.gz,x,one,1"], "acceleration is a number"),
        (["a.nii.gz,x,0.5,1"], "acceleration 0.5"),
        (["a.nii.gz,x,2,1"], "no reference"),
        (["a.nii.gz,x,1,maybe"], "labels are whole numbers"),
        (["a.nii.gz,x,1,1", "a.nii.gz,x,1,1"], "two references"),
    ],
)
def test_wrong_tables_are_one_clear_line(tmp_path: Path, rows: list[str], message: str) -> None:
    (tmp_path / "a.nii.gz").touch()
    (tmp_path / "t.csv").write_text("\n".join(["file,subject,acceleration,lesion", *rows]) + "\n")
    with pytest.raises(ReconError, match=message):
        read_labels(tmp_path / "t.csv")


def test_a_person_in_both_splits_is_an_error(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.nii.gz").touch()
    (tmp_path / "t.csv").write_text("file,subject,split,lesion\na.nii.gz,x,fit,1\nb.nii.gz,x,eval,0\n")
    with pytest.raises(ReconError, match="both splits"):
        read_labels(tmp_path / "t.csv")


def test_commands_from_images_to_auc(run_cli, tmp_path: Path) -> None:
    rows = []
    for person in range(12):
        for sick in (0, 1):
            head = make_head(person)
            if sick:
                head[24:40, 36:52, 5:8] += 0.8
            for acceleration in (1, 4):
                file = f"{person}-{sick}-{acceleration}.nii.gz"
                noise = 0.02 * np.random.default_rng(person).standard_normal(head.shape)
                save_nifti(tmp_path / file, head + (acceleration > 1) * noise.astype(np.float32), AFFINE)
                rows.append(
                    {
                        "file": file, "subject": f"Mr {person}", "case": f"{person}-{sick}",
                        "acceleration": acceleration,
                        "split": "fit" if person < 7 else "eval", "lesion": sick,
                    }
                )  # fmt: skip
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    embedded = run_cli("probe", "embed", tmp_path / "labels.csv", "--out", tmp_path / "e.h5", "--json")
    assert embedded.code == 0, embedded.err
    assert embedded.json["volumes"] == 48
    assert b"Mr 3" not in (tmp_path / "e.h5").read_bytes()
    table = read_labels(tmp_path / "labels.csv")
    some = replace(table, entries=table.entries[:3])
    control = load_encoder("recon-small", random_seed=0)
    both = embed_with_each([load_encoder("recon-small"), control], some)
    assert np.array_equal(both[0].pooled, read_embeddings(tmp_path / "e.h5").pooled[:3])
    assert np.array_equal(both[1].pooled, embed_table(control, some).pooled)
    assert both[1].weights_hash == "random-init seed 0"
    fitted = run_cli(
        "probe", "fit", tmp_path / "e.h5", "--label", "lesion", "--out", tmp_path / "p.safetensors", "--json"
    )
    assert fitted.json["subjects"] == 7
    words = ("probe", "eval", tmp_path / "e.h5", "--probe", tmp_path / "p.safetensors", "--repeats", 100)
    found = run_cli(*words, "--by", "acceleration", "--reject", "0:0.5:0.05", "--json")
    assert found.code == 0, found.err
    reference, fourfold = found.json["groups"]
    assert reference["auc"]["value"] > 0.9
    assert fourfold["acceleration"] == 4
    assert fourfold["auc_difference"]["low"] <= fourfold["auc_difference"]["value"]
    assert len(reference["rejection"]) == 11
    text = run_cli(*words, "--by", "acceleration", "--reject", "0:0.5:0.25").out
    assert "rejected" in text
    assert "4x" in text
    assert len(run_cli(*words, "--json").json["groups"]) == 1
    wrong = run_cli("probe", "fit", tmp_path / "e.h5", "--label", "tumour", "--out", tmp_path / "q.safetensors")
    assert wrong.code == 2
    assert "no label 'tumour'" in wrong.err


def test_a_probe_is_one_module_and_one_row(run_cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fitted and judged through the command line, with nothing else told."""
    module = types.ModuleType("toy_probe")
    module.fit = lambda embeddings, labels, classes, seed: {"middle": np.array([2.0], np.float32)}  # type: ignore[attr-defined]

    def predict(tensors: dict[str, np.ndarray], embeddings: Embeddings) -> Prediction:
        brightest = np.array([float(tokens.max()) for tokens in embeddings.tokens])
        sick = 1 / (1 + np.exp(tensors["middle"][0] - brightest))
        return Prediction(np.stack([1 - sick, sick], axis=1), np.minimum(sick, 1 - sick))

    module.predict = predict  # type: ignore[attr-defined]
    write_embeddings(tmp_path / "e.h5", make_embeddings(signal=8.0))
    words = ("probe", "fit", tmp_path / "e.h5", "--label", "lesion", "--probe", "brightest")
    unknown = run_cli(*words, "--out", tmp_path / "p.safetensors")
    assert unknown.code == 2
    assert "probe 'brightest': unknown; choose one of linear" in unknown.err
    monkeypatch.setitem(sys.modules, "toy_probe", module)
    monkeypatch.setitem(PROBES, "brightest", ProbeKind("brightest", "toy_probe", "the brightest feature"))
    assert run_cli(*words, "--out", tmp_path / "p.safetensors").code == 0
    judged = run_cli(
        "probe", "eval", tmp_path / "e.h5", "--probe", tmp_path / "p.safetensors", "--repeats", 50, "--json"
    )
    assert judged.code == 0, judged.err
    assert judged.json["probe"] == "brightest"
    assert judged.json["groups"][0]["auc"]["value"] > 0.95

"""Probes by site: rows for each, and a probe fitted on the other sites that meets what only one site has."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon.encode.probes.evaluation import GroupResult
from recon.encode.probes.labels import read_labels
from recon.encode.probes.options import EvaluationOptions, FitOptions
from recon.encode.probes.probe import fit_probe, write_probe
from recon.encode.probes.store import Embeddings, read_embeddings, write_embeddings
from recon.encode.probes.strata import evaluate_by_stratum, leave_one_out
from recon.errors import ReconError
from tests.encode.test_probes import make_embeddings

OPTIONS = EvaluationOptions(repeats=100)


def at_sites(embeddings: Embeddings, turned: str | None = None) -> Embeddings:
    """Persons at three sites in turn; at site ``turned`` the features that tell a lesion have the other sign."""
    names = {subject: "abc"[n % 3] for n, subject in enumerate(dict.fromkeys(embeddings.subjects))}
    sites = tuple(names[subject] for subject in embeddings.subjects)
    pooled = embeddings.pooled.copy()
    pooled[np.array(sites) == turned] *= -1
    return replace(embeddings, pooled=pooled, facts={"site": sites})


def aucs(found: list[tuple[str, GroupResult | str]]) -> dict[str, float]:
    return {name: group.auc.value for name, group in found if not isinstance(group, str)}


def test_a_site_that_is_different_shows_when_it_is_left_out() -> None:
    embeddings = at_sites(make_embeddings(persons=90, signal=8.0), turned="c")
    found = leave_one_out(embeddings, "linear", "lesion", OPTIONS)
    values = aucs(found)
    assert set(values) == {"a", "b", "c"}
    assert values["c"] < 0.35
    assert all(group.persons == 30 and group.auc.low < group.auc.value < group.auc.high for _, group in found)


def test_rows_by_site() -> None:
    embeddings = at_sites(make_embeddings(persons=90, signal=8.0))
    probe = fit_probe(embeddings, FitOptions(label="lesion"))
    found = evaluate_by_stratum(probe, embeddings, OPTIONS, "site")
    assert [name for name, _ in found] == ["a", "b", "c"]
    assert min(aucs(found).values()) > 0.8
    with pytest.raises(ReconError, match="no volume states its vendor"):
        evaluate_by_stratum(probe, embeddings, OPTIONS, "vendor")


def test_one_site_cannot_be_left_out_and_a_small_one_is_said() -> None:
    embeddings = make_embeddings(persons=20)
    count = len(embeddings.subjects)
    with pytest.raises(ReconError, match="one site only"):
        leave_one_out(replace(embeddings, facts={"site": ("a",) * count}), "linear", "lesion", OPTIONS)
    few = replace(embeddings, facts={"site": ("b", *("a",) * (count - 1))})
    assert isinstance(dict(leave_one_out(few, "linear", "lesion", OPTIONS))["b"], str)


def test_the_command_and_the_file_keep_sites(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    embeddings = at_sites(make_embeddings(persons=60, signal=8.0))
    write_embeddings(tmp_path / "e.h5", embeddings)
    assert read_embeddings(tmp_path / "e.h5").facts == embeddings.facts
    write_probe(tmp_path / "p.safetensors", fit_probe(embeddings, FitOptions(label="lesion")))
    words = ("probe", "eval", tmp_path / "e.h5", "--probe", tmp_path / "p.safetensors", "--repeats", "50")
    found = run_cli(*words, "--leave-one-site-out", "--json")
    assert found.code == 0, found.err
    assert [row["site"] for row in found.json["strata"]] == ["a", "b", "c"]
    shown = run_cli(*words, "--by", "site")
    assert shown.code == 0
    assert "by site, as fitted" in shown.out
    assert run_cli(*words, "--by", "vendor").code == 2


def test_a_table_may_name_sites(tmp_path: Path) -> None:
    (tmp_path / "x.nii").write_bytes(b"")
    (tmp_path / "t.csv").write_text("file,subject,site,field_strength,lesion\nx.nii,p,north,3,1\n")
    table = read_labels(tmp_path / "t.csv")
    assert table.names == ("lesion",)
    assert table.entries[0].facts == {"site": "north", "field_strength": "3"}

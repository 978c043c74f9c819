"""The fast part of the fuzzing suite: 150 mutants, the same each time. ``python -m tests.fuzzing`` is the long part."""

import os
import time
from pathlib import Path

import pytest
import torch

from tests.fuzzing.campaign import campaign, mutants_of, table_of
from tests.fuzzing.driving import ACCEPTED, LOST, REFUSED, UNEXPECTED, Answer, Verdict, accepted, refusal
from tests.fuzzing.seeds import make_seeds
from tests.fuzzing.targets import TARGETS, Target
from tests.fuzzing.worker import copied, judge_all

MUTANTS = 150


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = make_seeds(tmp_path_factory.mktemp("seeds"))
    torch.set_num_threads(threads)
    return folder


def test_every_mutant_is_refused_in_one_line_or_rightly_accepted(seeds: Path) -> None:
    findings = list(campaign(mutants_of(MUTANTS, seed=0), seeds))
    offenders = [found.line() for found in findings if found.verdict.column not in (ACCEPTED, REFUSED)]
    assert len(findings) == MUTANTS
    assert not offenders, "\n".join([*offenders, *table_of(findings)])


def test_an_unexpected_error_that_is_planted_is_found(seeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr("recon.scans.bart.map_data", broken)
    findings = list(campaign(mutants_of(8, seed=0, rows=("BART",)), seeds))
    found = [finding.verdict for finding in findings if finding.verdict.column == UNEXPECTED]
    assert found
    assert all("unexpected KeyError: 'planted'" in verdict.words for verdict in found)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.row}, {target.seed}")
def test_healthy_files_are_accepted(target: Target, seeds: Path, tmp_path: Path) -> None:
    """A reader that refuses everything would pass the fuzzing; and every oracle must agree with the healthy file."""
    path = copied(seeds / target.seed, tmp_path, [seeds / other for other in target.beside])
    found = target.drive(path, seeds, "any")
    assert found.column == ACCEPTED, found.words


def test_the_same_mutants_each_time() -> None:
    first, again = mutants_of(50, seed=3), mutants_of(400, seed=3)
    names = {mutant.name: mutant for mutant in again}
    for mutant in first:
        assert mutant.generator().integers(1 << 60) == names[mutant.name].generator().integers(1 << 60)


def test_what_is_no_clean_refusal() -> None:
    assert refusal(Answer(2, "recon: /a/scan.h5: no such file"), ("scan.h5",)).column == REFUSED
    assert refusal(Answer(2, "recon: no such file"), ("scan.h5",)).column == "no file name"
    assert refusal(Answer(2, "recon: unexpected KeyError: 'scan.h5'"), ("scan.h5",)).column == "unexpected error"
    assert refusal(Answer(2, "recon: unexpected MemoryError: "), ("scan.h5",)).column == "memory"


def test_a_crash_and_a_hang_lose_one_mutant_each() -> None:
    def judge(number: int) -> Verdict:
        if number == 1:
            os.abort()
        if number == 3:
            time.sleep(60)
        return accepted(str(number))

    found = list(judge_all(5, judge, seconds=1.0))
    assert [entry.number for entry in found] == list(range(5))
    assert [entry.verdict.column for entry in found] == [ACCEPTED, LOST, ACCEPTED, LOST, ACCEPTED]

"""The remaining time that is promised."""

import pytest

from cli import progress
from cli.training import training


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_remaining_time_counts_only_what_this_run_has_done(clock, capsys):
    with progress.Progress() as shown:
        clock[0] = 5.0  # reading what an earlier run left
        shown.show("training", 0.5)
        clock[0] = 45.0
        shown.show("training", 0.6)
    assert capsys.readouterr().err == "training (50 %)\ntraining (60 %, about 160 s left)\n"


def test_lines_are_rare_within_a_stage(clock, capsys):
    with progress.Progress() as shown:
        for second in range(61):
            clock[0] = float(second)
            shown.show("training", second / 100)
        shown.show("checking", 0.7)
        shown.note("a remark")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in lines] == ["training", "training", "checking", "a remark"]


def test_the_first_volume_tells_how_long_all_take(clock):
    said = []
    first = progress.FirstVolume(21, said.append)
    for behind, second in ((0, 0), (0.5, 4), (1, 8), (2, 90)):
        clock[0] = float(second)
        first.report(behind)
    assert said == ["about 3 minutes for 21 volumes (8.0 s the first)"]


def test_work_that_is_soon_done_is_not_estimated(clock):
    said = []
    first = progress.FirstVolume(21, said.append)
    clock[0] = 0.5
    first.report(1)
    assert not said


@pytest.mark.parametrize(("rank", "said"), [("0", "training (50 %)\nhalf\n"), ("1", "")])
def test_of_several_processes_that_train_the_first_speaks(
    rank: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", rank)
    with training() as told:
        told.report("training", 0.5)
        told.note("half")
    assert capsys.readouterr().err == said

"""Whatever an insider writes into a study's files, chained, signed and sealed anew, is refused by name or analysed."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reader_study.packages import MANIFEST, read_setup
from reader_study.study import KEY, LOG, OPENED_KEY
from tests.fuzzing.driving import run
from tests.reader_study.hostile_study import COMMANDS, DROP, TWICE, VALUES, Insider, copied, finish, make, unexpected

Say = Callable[[Insider, tuple[Any, ...], Any], None]
Read = Callable[[Path], Any]

# file -> what it holds, how it is changed, and who reads it: by name, of a study with its key open, or one just read.
OPENED: dict[str, tuple[Read, Say, tuple[str, ...]]] = {
    "log": (lambda study: Insider(study).log(), Insider.change_log, ("status", "check")),
    "opened key": (
        lambda study: json.loads((study / OPENED_KEY).read_text()),
        Insider.change_key,
        ("check with sheets and key",),
    ),
    "sealed key": (lambda study: json.loads((study / KEY).read_text()), Insider.change_sealed, ("unseal",)),
    "sheet": (
        lambda study: json.loads((study / "sheets" / "R1-1.json").read_text()),
        lambda insider, way, change: insider.change_sheet("R1-1.json", way, change),
        ("check with sheets and key",),
    ),
}
PACKAGE = "R1-session-1"
READ: dict[str, tuple[Read, Say, tuple[str, ...]]] = {
    "setup": (
        lambda study: read_setup(study / "packages" / PACKAGE),
        lambda insider, way, change: insider.change_setup(PACKAGE, way, change),
        ("adjudicate", "add-reader"),
    ),
    "manifest": (
        lambda study: json.loads((study / "packages" / PACKAGE / MANIFEST).read_text()),
        lambda insider, way, change: insider.change_manifest(PACKAGE, way, change),
        ("check", "add-reader"),
    ),
    "log of a study that is read": (
        lambda study: Insider(study).log(),
        Insider.change_log,
        ("adjudicate", "add-reader"),
    ),
}


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("read"))


@pytest.fixture(scope="module")
def opened(read: Path) -> Path:
    return finish(copied(read, read.parent / "opened"))


@st.composite
def places(draw: st.DrawFn, value: Any) -> tuple[Any, ...]:
    """The way to a part, every level drawn evenly: most parts lie deep in the lists of presentations."""
    way: list[Any] = []
    while isinstance(value, (dict, list)) and value and (not way or draw(st.integers(0, 3))):
        way.append(draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value)))))
        value = value[way[-1]]
    return tuple(way)


def judge(study: Path, data: st.DataObject, row: tuple[Read, Say, tuple[str, ...]], *, report: bool) -> None:
    content, say, commands = row
    way, change = data.draw(places(content(study))), data.draw(st.sampled_from((DROP, TWICE, *VALUES)))
    with tempfile.TemporaryDirectory(dir=study.parent) as name:
        insider = Insider(copied(study, Path(name) / "study"))
        say(insider, way, change)
        assert unexpected(insider.study, Path(name), commands, report) == []


few = settings(max_examples=5, deadline=None, derandomize=True)  # the same each time, as the mutants are
many = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("event", "way", "change", "said"),
    [
        ("export", ("commitment",), DROP, "key 'commitment' is missing; no log says that, restore it from a copy"),
        ("export", ("packages",), {}, "key 'packages' is {}"),
        ("export", ("packages", 0, "presentations", 0, "order"), "x", "packages[0], presentations[0]: key 'order' is"),
        ("export", ("packages", 0, "session"), 10**400, "a package of R1 is of none of the 1 sessions"),
        ("export", ("packages", 0, "folder"), "../../x", "lies in '../../x'; restore the log from a copy"),
        ("export", ("packages", 0, "extra"), 1, "packages[0]: unknown key 'extra'"),
        ("export", ("packages",), TWICE, "unknown key 'packages2'"),
        ("sheet", ("sha256",), None, "key 'sha256' is None"),
        ("unseal", ("sheets",), [], "key 'sheets' is []"),
        ("deviation", ("session",), "1", "key 'session' is '1'"),
        ("reader-called-in", ("reader",), "R1", "reader 'R1' is no reserve of the protocol"),
        ("reader-added", ("in_place_of",), "x", "reader 'x', whose place is taken, never read"),
        ("reader-added", ("shows",), {}, "'shows' does not name the presentations of its packages"),
        ("adjudication", ("compared",), DROP, "key 'compared' is missing"),
        ("protocol-frozen", ("version",), True, "key 'version' is True"),
    ],
)
def test_log_line_and_part_are_named(
    event: str, way: tuple[Any, ...], change: Any, said: str, opened: Path, tmp_path: Path
) -> None:
    insider = Insider(copied(opened, tmp_path / "study"))
    number = next(index for index, line in enumerate(insider.log()) if line["event"] == event)
    insider.change_log((number, "details", *way), change)
    for words in (("status",), ("check",), ("adjudicate",), ("analyze", "--out", tmp_path / "report")):
        answer = run("reader-study", words[0], insider.study, *words[1:])
        assert answer.code == 2
        assert answer.words.startswith(f"recon: {insider.study / LOG}, line {number + 1} ({event})")
        assert said in answer.words


@pytest.mark.parametrize("line", [b"[]", b"null", b"5", b"[" * 100_000, b'{"a":' * 400 + b"1" + b"}" * 400, b"\xff"])
def test_lines_that_are_none(line: bytes, opened: Path, tmp_path: Path) -> None:
    study = copied(opened, tmp_path / "study")
    lines = (study / LOG).read_bytes().split(b"\n")
    (study / LOG).write_bytes(b"\n".join([*lines[:1], line, *lines[2:]]))
    assert f"{study / LOG}: line 2 was altered (it is not a log line)" in run("reader-study", "status", study).words


def test_a_key_that_stands_twice_and_an_event_that_is_none(opened: Path, tmp_path: Path) -> None:
    insider = Insider(copied(opened, tmp_path / "study"))
    log = insider.study / LOG
    kept = log.read_bytes()
    log.write_bytes(kept.replace(b'{"details":', b'{"details":{},"details":', 1))
    assert "line 1 was altered (its hash does not match" in run("reader-study", "status", insider.study).words
    log.write_bytes(kept)
    insider.change_log((1, "event"), "exported")
    assert f"{log}, line 2: no event is called 'exported'" in run("reader-study", "status", insider.study).words


@pytest.mark.parametrize("row", OPENED.values(), ids=OPENED)
@few
@given(data=st.data())
def test_a_part_of_an_opened_study(row: Any, opened: Path, data: st.DataObject) -> None:
    judge(opened, data, row, report=False)


@pytest.mark.parametrize("row", READ.values(), ids=READ)
@few
@given(data=st.data())
def test_a_part_of_a_study_that_was_read(row: Any, read: Path, data: st.DataObject) -> None:
    judge(read, data, row, report=False)


@pytest.mark.slow
@pytest.mark.parametrize("row", OPENED.values(), ids=OPENED)
@many
@given(data=st.data())
def test_many_parts_of_an_opened_study_to_the_report(row: Any, opened: Path, data: st.DataObject) -> None:
    judge(opened, data, (*row[:2], tuple(COMMANDS)), report=True)


@pytest.mark.slow
@pytest.mark.parametrize("row", READ.values(), ids=READ)
@many
@given(data=st.data())
def test_many_parts_of_a_study_that_was_read(row: Any, read: Path, data: st.DataObject) -> None:
    judge(read, data, (*row[:2], tuple(COMMANDS)), report=False)

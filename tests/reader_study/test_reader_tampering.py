"""Studies that somebody tampered with: each is refused, or the report says what happened."""

import csv
import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from study_maker import export_small
from test_reader_analysis import PASSPHRASE, Built

from reader_study import audit_log, unblinding
from reader_study.analysis import analyse
from reader_study.canonical import canonical_json, digest
from reader_study.deviations import log_deviation
from reader_study.integrity import absent, verify_files
from reader_study.report import document
from reader_study.scores import collect
from reader_study.sheet import Flag, Sheet
from reader_study.sheet_files import write_sheet
from reader_study.study import LOG, OPENED_KEY, PROTOCOL, open_study
from reader_study.unsealing import log_sheet, unseal
from recon.errors import ReconError

EXPORTED = datetime(2026, 1, 2, 9, tzinfo=timezone.utc)
UNSEALED = EXPORTED + timedelta(weeks=20)


def text_of(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class World(Built):
    """A study whose sheets' times fit its log, step by step as a coordinator goes."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = EXPORTED
        monkeypatch.setattr(audit_log, "now", lambda: self.clock)
        super().__init__(folder)
        self.sheets = [
            self.timed(sheet, EXPORTED + timedelta(days=3, weeks=5 * sheet.session)) for sheet in self.sheets
        ]
        self.inbox, self.noted = self.folder / "sheets", None

    def signed(self, sheet: Sheet) -> Sheet:
        return sheet.signed(self.private[sheet.reader, sheet.session])

    def timed(self, sheet: Sheet, begin: datetime, step: float = 20.0) -> Sheet:
        """The sheet as if read from ``begin`` on, one image every ``step`` seconds."""
        rows = []
        for index, row in enumerate(sheet.responses):
            start = begin + timedelta(seconds=step * index)
            rows.append(replace(row, started=text_of(start), finished=text_of(start + timedelta(seconds=step))))
        ends = {"started": rows[0].started, "finished": rows[-1].finished}
        return self.signed(replace(sheet, responses=tuple(rows), **ends))

    def change(self, index: int = 0, *, response: int = -1, **changes: object) -> None:
        """Alter one response of one sheet and sign it again, as whoever holds the package can."""
        rows = list(self.sheets[index].responses)
        rows[response] = replace(rows[response], **changes)
        self.sheets[index] = self.signed(replace(self.sheets[index], responses=tuple(rows)))

    def deliver(self) -> None:
        shutil.rmtree(self.inbox, ignore_errors=True)
        self.write(self.inbox)

    def receive(self) -> None:
        self.deliver()
        self.clock = UNSEALED - timedelta(days=1)
        for sheet in collect(open_study(self.folder), [self.inbox]).sheets:
            log_sheet(open_study(self.folder), sheet)

    def unseal(self, passphrase: str = PASSPHRASE) -> None:
        self.clock = UNSEALED
        study = open_study(self.folder)
        key = unseal(study, passphrase, "all scores are in", collect(study, [self.inbox]).sheets)
        (self.folder / OPENED_KEY).write_text(json.dumps(key.as_mapping()))
        self.noted = open_study(self.folder).head

    def told(self) -> str:
        """What the report says about how the study was run."""
        found = unblinding.sealed(self.folder, [self.inbox], expect_head=self.noted).provenance
        known = found.conduct
        return "\n".join([*known.facts, *known.departures, *known.unknown, *found.deviations])

    # --- the log, rewritten by somebody who knows how it is made

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in (self.folder / LOG).read_text().splitlines()]

    def rechain(self, lines: list[dict]) -> None:
        previous, written = audit_log.FIRST, []
        for index, line in enumerate(lines, start=1):
            body = {**line, "index": index, "previous": previous}
            body.pop("hash", None)
            body["hash"] = previous = digest(body)
            written.append(canonical_json(body) + b"\n")
        (self.folder / LOG).write_bytes(b"".join(written))


def retime(world: World, index: int, begin: datetime, step: float = 20.0) -> None:
    world.sheets[index] = world.timed(world.sheets[index], begin, step)


def hour_after(world: World) -> None:
    retime(world, 1, datetime.fromisoformat(world.sheets[0].finished.replace("Z", "+00:00")) + timedelta(hours=1))


def wrong_way_round(world: World) -> None:
    retime(world, 1, EXPORTED + timedelta(days=1))
    retime(world, 0, EXPORTED + timedelta(weeks=3))


def hasty(world: World) -> None:
    for response in range(len(world.sheets[0].responses)):
        world.change(response=response, seconds=0.1)


def swapped_order(world: World) -> None:
    rows = world.sheets[0].responses
    world.change(response=3, started=rows[5].started)
    world.change(response=5, started=rows[3].started)


def untimed(world: World) -> None:
    rows = tuple(replace(row, started="", finished="") for row in world.sheets[0].responses)
    world.sheets[0] = world.signed(replace(world.sheets[0], responses=rows, started="", finished=""))


def edited(world: World) -> None:
    world.sheets[0] = replace(world.sheets[0], finished="later")


def guesses(change: Callable[[Sheet], tuple]) -> Callable[[World], None]:
    def act(world: World) -> None:
        index = next(index for index, sheet in enumerate(world.sheets) if sheet.guesses)
        world.sheets[index] = world.signed(replace(world.sheets[index], guesses=change(world.sheets[index])))

    return act


def response(**changes: object) -> Callable[[World], None]:
    return lambda world: world.change(**changes)


def lose(*indices: int) -> Callable[[World], None]:
    def act(world: World) -> None:
        world.sheets = [sheet for index, sheet in enumerate(world.sheets) if index not in indices]

    return act


def deviate(kind: str, *scope: object) -> Callable[[World], None]:
    return lambda world: log_deviation(world.folder, kind, "the room light was on", *scope)


def then(*acts: Callable[[World], None]) -> Callable[[World], None]:
    def act(world: World) -> None:
        for one in acts:
            one(world)

    return act


def without_answer(world: World) -> None:
    row = world.sheets[0].responses[-1]
    world.change(scores={"artifacts": row.scores["artifacts"]})


def excuse_that_answer(world: World) -> None:
    log_deviation(
        world.folder, "missing", "image did not load", presentation=world.sheets[0].responses[-1].presentation
    )


def re_sign(world: World) -> None:
    row = world.sheets[0].responses[-1]
    world.change(scores={**row.scores, "overall": 1 + row.scores["overall"] % 5})
    world.deliver()


def log_again(world: World) -> None:
    for sheet in collect(open_study(world.folder), [world.inbox]).sheets:
        log_sheet(open_study(world.folder), sheet)


def endless(world: World) -> None:
    path = world.inbox / "R1-1.json"
    path.write_text(path.read_text().replace('"seconds": 12.5', '"seconds": 1e999', 1))


def forged_csv(world: World) -> None:
    world.deliver()
    (world.inbox / "R1-1.json").unlink()
    path = world.inbox / "R1-1.csv"
    write_sheet(path, world.sheets[0])
    rows = list(csv.reader(path.read_text().splitlines()))
    score = rows[0].index("score")
    forged = [*rows[2]]
    forged[score] = "5"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\r\n").writerows([*rows[:2], forged, *rows[2:]])


def open_key_edited(world: World) -> None:
    path = world.folder / OPENED_KEY
    path.write_text(
        path.read_text().replace('"standard"', '"x"').replace('"fast"', '"standard"').replace('"x"', '"fast"')
    )


def log_byte(world: World) -> None:
    path = world.folder / LOG
    path.write_bytes(path.read_bytes().replace(b"the new way", b"the old way"))


def log_without(event: str, rechained: bool = True) -> Callable[[World], None]:
    def act(world: World) -> None:
        left = [line for line in world.lines() if line["event"] != event]
        assert len(left) < len(world.lines())
        world.rechain(left)

    return act


def log_cut(world: World) -> None:
    lines = (world.folder / LOG).read_bytes().splitlines(keepends=True)
    (world.folder / LOG).write_bytes(b"".join(lines[:-1]))


def excuse_slipped_in(world: World) -> None:
    lines = world.lines()
    details = {"kind": "exchanged", "text": "x", "reader": "R1", "session": None, "presentation": None}
    world.rechain([*lines, {**lines[-1], "event": "deviation", "details": details}])
    re_sign(world)


def forget_head(world: World) -> None:
    world.noted = None


def old_words(world: World) -> None:
    """A deviation as an earlier version logged it, without a kind."""
    audit_log.append(world.folder / LOG, "deviation", {"text": "x", "reader": "R2", "session": 2})


def failed_attempt(world: World) -> None:
    with pytest.raises(ReconError):
        world.unseal("another passphrase")


def protocol_edited(world: World) -> None:
    path = world.folder / PROTOCOL
    path.write_text(path.read_text().replace("MARGIN", "").replace("margin: 0.5", "margin: 0.9"))


def nothing(world: World) -> None:
    """Leave everything as it is."""


# (before the sheets are received, before the key is opened, before the analysis, what is said)
SITTINGS = {
    "washout of an hour": (
        hour_after,
        r"Session 2 of reader R1 began 1\.0 hours after session 1; 4 weeks were planned",
    ),
    "second session first": (wrong_way_round, r"Session 2 of reader R1 began 2\.\d weeks before the end of session 1"),
    "older than the export": (lambda w: retime(w, 0, EXPORTED - timedelta(days=90)), "before the export on 2026-01-02"),
    "read with the key open": (
        lambda w: retime(w, 1, UNSEALED + timedelta(1)),
        "after the key was opened on 2026-05-22",
    ),
    "ended after it came in": (
        lambda w: retime(w, 1, UNSEALED - timedelta(hours=12)),
        r"reader R1, session 2 ended on 2026-05-2\d \d\d:\d\d UTC, after its sheet came in on 2026-05-21",
    ),
    "started in 1999": (lambda w: retime(w, 0, datetime(1999, 1, 1, tzinfo=timezone.utc)), "began on 1999-01-01"),
    "a tenth of a second": (hasty, r"In reader R1, session 1 \d+ of \d+ images were looked at for less than a second"),
    "out of order": (swapped_order, r"session 1 \d of \d+ images were begun before the one planned ahead"),
    "more looks than time": (response(seconds=90_000.0), "were looked at for 90"),
    "without times": (untimed, "When these were read is not known.*reader R1, session 1"),
    "edited": (edited, "the signature does not match"),
    "of another study": (
        lambda w: w.sheets.__setitem__(0, w.signed(replace(w.sheets[0], study="0" * 64))),
        "another study",
    ),
    "seconds in words": (response(seconds="abc"), r"responses\[\d+\]: key 'seconds' is 'abc'"),
    "no scores at all": (response(scores=None), r"responses\[\d+\]: key 'scores' is None"),
    "presentation that is none": (response(presentation=["x"]), "key 'presentation' is"),
    "comment that is none": (response(comment=None), "key 'comment' is None"),
    "time that is none": (response(started=5), "key 'started' is 5"),
    "flag on a side that is not": (response(flags=(Flag("artifact", "B", 1, 2, 3),)), "is not possible here"),
    "flag of no kind": (response(flags=(Flag("cat", "A", 1, 2, 3),)), "is not possible here"),
    "flag outside": (response(flags=(Flag("artifact", "A", 9999, 2, 3),)), "is not possible here"),
    "flag in words": (
        response(flags=(Flag("artifact", "A", "one", 2, 3),)),  # type: ignore[arg-type]
        r"flags\[0\]: key 'slice' is 'one'",
    ),
    "guess repeated": (guesses(lambda sheet: sheet.guesses[:1] * 50), "the guess for .* stands twice"),
    "guess not asked": (
        guesses(lambda sheet: (replace(sheet.guesses[0], presentation=sheet.responses[0].presentation),)),
        "is not possible here",
    ),
    "sheets lost": (lose(1, 2, 3), r"not unsealed, 3 readings are missing; first: reader R1, session 2"),
    "lost, and words": (then(lose(3), deviate("other")), "not unsealed, 1 readings are missing"),
    "lost, and words of old": (then(lose(3), old_words), "not unsealed, 1 readings are missing"),
    "lost, and another reader's excuse": (then(lose(1), deviate("missing", "R2")), "first: reader R1, session 2"),
    "lost and excused": (
        then(lose(3), deviate("missing", "R2", 2)),
        r"(?s)opened on .* with 3 of 4 sheets in.*missing, reader R2, session 2: the room",
    ),
    "one answer missing": (without_answer, "not unsealed, 1 readings are missing"),
    "one answer missing and excused": (
        then(without_answer, excuse_that_answer),
        "1 readings in the sheets are missing or lack an answer",
    ),
}  # fmt: skip
RECEIVED = {
    "a look without end": (endless, "key 'seconds' is inf"),
    "signed again": (re_sign, "differs from the sheet of R1, session 1, that was received before"),
    "signed again, and words": (then(deviate("other"), re_sign), "differs from the sheet of R1"),
    "signed again, excuse of another kind": (then(deviate("missing", "R1"), re_sign), "differs from the sheet of R1"),
    "signed again and excused": (
        then(deviate("exchanged", "R1", 1), re_sign),
        "exchanged, reader R1, session 1: the room",
    ),
    "dropped after it came in, and excused": (
        then(deviate("missing", "R2", 2), lambda w: (w.inbox / "R2-2.json").unlink()),
        r"The sheet of reader R2, session 2 that came in on 2026-05-21 \d\d:\d\d UTC is not among those analysed",
    ),
    "signed again, excuse cut out of the log": (
        then(deviate("exchanged", "R1", 1), re_sign, log_again, log_without("deviation")),
        r"Another sheet of reader R1, session 1 came in on 2026-05-21 \d\d:\d\d UTC; it is not the one analysed",
    ),
    "signed again, receipts cut out": (
        then(log_without("sheet"), re_sign),
        "Not logged when they came in.*R1, session 1",
    ),
    "forged row before the true one": (forged_csv, "stands twice"),
    "attempt to open": (failed_attempt, r"1 attempt\(s\) to open the key failed"),
    "looked into the key": (
        lambda w: audit_log.append(w.folder / LOG, "check", {"passed": True, "key_opened": True}),
        "for a check of the pairs",
    ),
    "opened twice": (lambda w: w.unseal(), "The key was opened 2 times"),
    "export cut out of the log": (log_without("export"), "nothing was exported"),
    "protocol edited": (protocol_edited, "altered since it was frozen"),
}  # fmt: skip
OPEN = {
    "sheet changed": (re_sign, "differs from the one when the key was opened|differs from the sheet"),
    "sheet changed and excused": (
        then(deviate("exchanged", "R1", 1), re_sign),
        "The sheet of reader R1, session 1 is not the one that stood when the key was opened",
    ),
    "sheet deleted": (lambda w: (w.inbox / "R2-2.json").unlink(), "1 readings are missing"),
    "sheet deleted and excused as missing": (
        then(lambda w: (w.inbox / "R2-2.json").unlink(), deviate("missing", "R2", 2)),
        "session 2 is missing now when the key was opened",
    ),
    "key edited": (open_key_edited, "not the one committed to"),
    "byte of the log": (log_byte, "line 1 was altered"),
    "log cut": (log_cut, "was cut or rewritten"),
    "unsealing cut out, rechained": (log_without("unseal"), "was cut or rewritten|never unsealed"),
    "unsealing cut out, no head noted": (then(log_without("unseal"), forget_head), "never unsealed"),
    "receipts cut out, rechained": (log_without("sheet"), "was cut or rewritten"),
    "receipts cut out, no head noted": (
        then(log_without("sheet"), forget_head),
        "neither cut nor rewritten rests on the",
    ),
    "excuse slipped in, no head noted": (
        then(excuse_slipped_in, forget_head),
        r"(?s)not the one that stood when the key was opened.*neither cut nor rewritten",
    ),
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def run(world: World, stage: str, act: Callable[[World], object]) -> str:
    """Everything from the sheets to the report with one act of tampering; what the report says, or the refusal."""
    try:
        if stage == "sittings":
            act(world)
        world.receive()
        if stage == "received":
            act(world)
        world.unseal()
        if stage == "open":
            act(world)
        return world.told()
    except ReconError as error:
        return str(error)


def test_an_honest_study_has_no_departure(world: World) -> None:
    told = run(world, "sittings", nothing)
    assert (
        "By the log the key was first opened on 2026-05-22 09:00 UTC, when the sheets of all 4 sittings were in" in told
    )
    assert "the sessions of one reader were 5.0 weeks apart or more (4 planned)" in told
    assert "Every sheet was logged when it came in" in told
    found = unblinding.sealed(world.folder, [world.inbox], expect_head=world.noted)
    assert found.provenance.conduct.departures == ()
    assert found.provenance.conduct.unknown == ()


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        (stage, name)
        for stage, acts in (("sittings", SITTINGS), ("received", RECEIVED), ("open", OPEN))
        for name in acts
    ],
)
def test_tampering_is_refused_or_stated(world: World, stage: str, name: str) -> None:
    act, said = {"sittings": SITTINGS, "received": RECEIVED, "open": OPEN}[stage][name]
    told = run(world, stage, act)
    assert re.search(said, told), told
    assert "first opened" not in told or not re.search(r"came in after|is not the one that stood|with \d of", told)


def test_departures_stand_on_the_first_page(world: World) -> None:
    hour_after(world)
    world.receive()
    world.unseal()
    found = unblinding.sealed(world.folder, [world.inbox])
    page = document(analyse(found.protocol, found.observations, replicates=50), found.observations, found.provenance)
    assert any("began 1.0 hours after session 1" in line for line in page.limits)
    text = json.dumps([dataclasses.asdict(section) for section in page.sections])
    assert "at least 4 weeks apart" not in text
    assert "planned 4 weeks apart, shortest by the sheets 0.0 weeks" in text


# --- the folders


def swap_worklist_ids(folder: Path) -> None:
    path = next(iter(sorted((folder / "worklists").glob("*.csv"))))
    rows = list(csv.reader(path.read_text().splitlines()))
    rows[1][3], rows[2][3] = rows[2][3], rows[1][3]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def exchange_images(folder: Path) -> None:
    first, second = sorted((folder / "packages").glob("*/images/*.js"))[:2]
    content = first.read_bytes() + b"\n"
    first.unlink()  # a hard link elsewhere keeps its own content
    first.write_bytes(second.read_bytes() + b"\n")
    second.unlink()
    second.write_bytes(content)


FOLDERS = {
    "patient ids exchanged in a worklist": (swap_worklist_ids, r"worklists/.*csv: missing or altered"),
    "worklist added": (lambda f: (f / "worklists" / "R9.csv").write_text("x"), r"R9.csv: was added"),
    "images exchanged in a package": (exchange_images, r"images/\w+\.js: missing or altered"),
    "package added": (
        lambda f: shutil.copytree(next((f / "packages").iterdir()), f / "packages" / "R9"),
        "R9: was added",
    ),
    "package deleted": (
        lambda f: shutil.rmtree(f / "packages" / "R1-session-1"),
        "R1-session-1: not here, not checked",
    ),
    "opened key forged": (lambda f: (f / OPENED_KEY).write_text("{}"), "key.opened.json: not an opened key of recon"),
    "DICOM file added": (lambda f: (next((f / "dicom").iterdir()) / "9.dcm").write_bytes(b"x"), "9.dcm: was added"),
    "viewer edited": (lambda f: next(f.glob("packages/*/viewer.js")).write_text("x"), "viewer.js: missing or altered"),
}  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_small(tmp_path_factory.mktemp("exported"), cases=2)


@pytest.mark.parametrize("name", FOLDERS)
def test_check_names_what_was_done_to_the_folders(exported: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "study"
    shutil.copytree(exported, folder)
    study = open_study(folder)
    assert verify_files(study) == absent(study) == []
    act, said = FOLDERS[name]
    act(folder)
    found = "\n".join([*verify_files(study), *absent(study)])
    assert re.search(said, found), found

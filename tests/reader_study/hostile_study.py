"""A study that an insider rewrites: a line of its log or a JSON file changed in one part, and chained again."""

import base64
import contextlib
import copy
import hmac
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from reader_study import audit_log, seal, unblinding
from reader_study.added_reader import add_reader
from reader_study.adjudication import adjudicate
from reader_study.analysis import analyse
from reader_study.canonical import canonical_json, digest
from reader_study.deviations import log_deviation
from reader_study.document import Document
from reader_study.packages import MANIFEST, read_setup
from reader_study.report import document
from reader_study.reserve import call_in
from reader_study.scores import collect
from reader_study.sheet import BlindingGuess, Flag, Response, Sheet
from reader_study.sheet_files import write_sheet
from reader_study.signing import sign
from reader_study.study import KEY, LOG, OPENED_KEY, open_study
from reader_study.unsealing import log_sheet, unseal
from recon.digest import file_sha256
from tests.fuzzing.driving import called, run
from tests.reader_study.study_maker import PASSPHRASE, export_small

RULE = {"reader": "A1", "experience": "20 years", "items": ["overall"], "difference": 2}
READERS = [
    {"id": "R1", "experience": "10 years"},
    {"id": "R2", "experience": "3 years"},
    {"id": "R3", "experience": "none", "reserve": True},
]
WHEN = ("2040-01-05T09:00:00.000Z", "2040-01-05T09:00:12.500Z")


def make(folder: Path) -> Path:
    """A study that was read, with a reserve who was called in, an added reader and a deviation."""
    study = export_small(folder, readers=READERS, adjudication=RULE, cases=4, repeats=1)
    call_in(study, "R3", "R1 is slow")
    add_reader(study, "R4", "5 years", "R2", "R2 is away")
    log_deviation(study, "missing", "R2 left the hospital", "R2")
    for reader, seed in (("R1", 0), ("R3", 1), ("R4", 3)):
        _hand_back(study, reader, seed)
    return study


def finish(study: Path) -> Path:
    """The same study, adjudicated, its sheets logged and its key opened."""
    adjudicate(open_study(study), collect(open_study(study)).sheets)
    _hand_back(study, "A1", 2)
    for sheet in collect(open_study(study)).sheets:
        log_sheet(open_study(study), sheet)
    key = unseal(open_study(study), PASSPHRASE, "done", collect(open_study(study)).sheets)
    (study / OPENED_KEY).write_text(json.dumps(key.as_mapping()))
    return study


def _hand_back(study: Path, reader: str, seed: int) -> None:
    opened = open_study(study)
    for package in (one for one in opened.packages if one.reader == reader):
        responses = tuple(
            Response(
                *(entry.id, entry.order, entry.training),
                {"overall": 1 + (int(entry.images[0], 16) // (1 + seed)) % 5, **({} if seed == 2 else {"noise": 2})},
                (Flag("artifact", "A", 1, 2.5, 3),),
                *("fine", 5.5, *WHEN, entry.images),
            )
            for entry in package.presentations
        )
        guesses = tuple(BlindingGuess(entry.id, "new") for entry in package.presentations if entry.guess)
        sheet = Sheet(opened.protocol.hash, package.id, reader, package.session, *WHEN, responses, guesses)
        (study / "sheets").mkdir(exist_ok=True)
        private = read_setup(study / package.folder)["signing_key"]
        write_sheet(study / "sheets" / f"{reader}-{package.session}.json", sheet.signed(private))


def copied(study: Path, to: Path) -> Path:
    """A copy in which images are shared and everything that is rewritten is not."""

    def copy_file(source: str, target: str) -> None:
        os.link(source, target) if Path(source).parent.name == "images" else shutil.copyfile(source, target)

    return shutil.copytree(study, to, ignore=shutil.ignore_patterns("dicom"), copy_function=copy_file)


# --- one part of it changed

VALUES: tuple[Any, ...] = (None, True, -1, 0, 10**400, 1e300, "", "x", "../../x", [], {}, [[]], {"x": 1})
DROP, TWICE = "drop", "twice"  # the part left out, or there again


def changed(value: Any, way: Sequence[Any], change: Any) -> Any:
    """``value`` with the part at ``way`` dropped, doubled or replaced."""
    value = copy.deepcopy(value)
    *holders, last = way
    holder = value
    for key in holders:
        holder = holder[key]
    if change == DROP:
        del holder[last]
    elif change == TWICE:
        holder.insert(last, holder[last]) if isinstance(holder, list) else holder.update({f"{last}2": holder[last]})
    else:
        holder[last] = change
    return value


@dataclass(frozen=True)
class Insider:
    """What somebody can do who holds the folder, every package and the passphrase, and knows how all of it is made."""

    study: Path

    def log(self) -> list[dict[str, Any]]:
        """The log's lines."""
        return [json.loads(line) for line in (self.study / LOG).read_text(encoding="utf-8").splitlines()]

    def chain(self, lines: Sequence[Any]) -> None:
        """Write the log anew, its hashes computed again wherever a line can hold them."""
        previous, written = audit_log.FIRST, []
        for index, line in enumerate(lines, start=1):
            if isinstance(line, dict):
                line = {**line, **({"index": index} if "index" in line else {})}
                line |= {"previous": previous} if "previous" in line else {}
                if "hash" in line:
                    del line["hash"]
                    line["hash"] = previous = digest(line)
            written.append(canonical_json(line) + b"\n")
        (self.study / LOG).write_bytes(b"".join(written))

    def rewrite_export(self, **details: Any) -> None:
        """Change parts of the export line."""
        lines = self.log()
        for line in lines:
            if line["event"] == "export":
                line["details"] |= details
        self.chain(lines)

    def change_log(self, way: Sequence[Any], change: Any) -> None:
        """A part of the log, from the number of its line on."""
        self.chain(changed(self.log(), way, change))

    def change_key(self, way: Sequence[Any], change: Any) -> None:
        """A part of the opened key, committed to anew; and sealed anew."""
        values = changed(json.loads((self.study / OPENED_KEY).read_text()), way, change)
        content = canonical_json(values)
        (self.study / OPENED_KEY).write_bytes(content)
        details = {}
        with contextlib.suppress(TypeError, ValueError, KeyError):
            details["commitment"] = hmac.new(bytes.fromhex(values["salt"]), content, "sha256").hexdigest()
        salt, nonce = bytes(16), bytes(12)
        header = {
            "format": seal.FORMAT,
            "study": str(values.get("study")),
            "cipher": "AES-256-GCM",
            "kdf": {"name": "scrypt", "n": 16, "r": 8, "p": 1, "salt": base64.b64encode(salt).decode()},
            "nonce": base64.b64encode(nonce).decode(),
        }
        secret = Scrypt(salt=salt, length=32, n=16, r=8, p=1).derive(PASSPHRASE.encode())
        hidden = AESGCM(secret).encrypt(nonce, content, canonical_json(header))
        self._seal({**header, "ciphertext": base64.b64encode(hidden).decode()}, details)

    def change_sealed(self, way: Sequence[Any], change: Any) -> None:
        """A part of the sealed key's file."""
        self._seal(changed(json.loads((self.study / KEY).read_text()), way, change), {})

    def _seal(self, values: Any, details: dict[str, Any]) -> None:
        (self.study / KEY).write_bytes(canonical_json(values))
        self.rewrite_export(**details, sealed_key_sha256=file_sha256(self.study / KEY))

    def change_sheet(self, name: str, way: Sequence[Any], change: Any) -> None:
        """A part of a sheet, signed anew; in the log stands the hash of the new one."""
        path = self.study / "sheets" / name
        before = json.loads(path.read_text())
        after = changed(before, way, change)
        del before["signature"]
        if way[0] != "signature":
            private = read_setup(self.study / "packages" / name.replace("-1.json", "-session-1"))["signing_key"]
            del after["signature"]
            after["signature"] = sign(private, canonical_json(after))
        path.write_text(json.dumps(after))
        after = {key: value for key, value in after.items() if key != "signature"}
        text = (self.study / LOG).read_text().replace(digest(before), digest(after))
        self.chain([json.loads(line) for line in text.splitlines()])

    def change_setup(self, name: str, way: Sequence[Any], change: Any) -> None:
        """A part of what ``package.js`` of a package holds, its hash in the manifest, and that one's in the log."""
        folder = self.study / "packages" / name
        setup = changed(read_setup(folder), way, change)
        (folder / "package.js").write_text(f"reconPackage({json.dumps(setup)});\n")
        self.change_manifest(name, ("package.js",), file_sha256(folder / "package.js"))

    def change_manifest(self, name: str, way: Sequence[Any], change: Any) -> None:
        """A part of a package's manifest, or all of it, and its hash in the log."""
        path = self.study / "packages" / name / MANIFEST
        before = file_sha256(path)
        listed = json.loads(path.read_text())
        path.write_text(json.dumps(changed(listed, way, change) if way else change))
        text = (self.study / LOG).read_text().replace(before, file_sha256(path))
        self.chain([json.loads(line) for line in text.splitlines()])


COMMANDS: dict[str, tuple[str, ...]] = {
    "status": ("STUDY",),
    "check": ("STUDY",),
    "check with sheets and key": ("STUDY", "--sheets", "STUDY/sheets", "--passphrase-file", "OUT/secret"),
    "unseal": ("STUDY", "--reason", "again", "--out", "OUT/key", "--passphrase-file", "OUT/secret"),
    "adjudicate": ("STUDY",),
    "deviation": ("STUDY", "why", "--kind", "other"),
    "call-in": ("STUDY", "R3", "why"),
    "add-reader": ("STUDY", "R9", "why", "--in-place-of", "R1", "--experience", "none"),
    "redcap-dictionary": ("STUDY", "--out", "OUT/form.csv"),
    "plan": ("STUDY/protocol.yaml", "--out", "STUDY"),
}


def unexpected(study: Path, out: Path, commands: Iterable[str] = COMMANDS, report: bool = True) -> list[str]:
    """Run commands as the command line does, and the analysis, with or without its statistics and report; gives what
    was neither an answer nor a refusal."""
    (out / "secret").write_text(PASSPHRASE)
    (out / "secret").chmod(0o600)
    said = []
    for name in commands:
        words = [word.replace("STUDY", str(study)).replace("OUT", str(out)) for word in COMMANDS[name]]
        said.append((name, run("reader-study", name.split()[0], *words)))
    said.append(("analyze", called(lambda: _report(study) if report else unblinding.sealed(study))))
    return [
        f"{name}: {answer.words[:300]}"
        for name, answer in said
        if not answer.accepted and (not answer.words.startswith("recon: ") or "unexpected" in answer.words)
    ]


def _report(study: Path) -> Document:
    """What ``analyze`` computes, with few bootstrap samples."""
    found = unblinding.sealed(study)
    return document(analyse(found.protocol, found.observations, replicates=20), found.observations, found.provenance)

"""The images on whose scores the readers disagree, handed blinded to a third reader.

Which presentations show one image is told by the hashes of what was shown, so that the key stays sealed. A line of the
log, event ``adjudication``: ``{"reader", "compared", "packages", "worklists", "shows", "sheets"}``: ``compared`` counts
the images that two readers scored, ``shows`` has for each new presentation one of the readers' with the same image and
the items on which they differ, ``sheets`` the hashes of the sheets that this rests on.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reader_study import audit_log
from reader_study.additions import addition
from reader_study.adjudication_rule import Adjudication
from reader_study.canonical import digest
from reader_study.copied_packages import Copied, copied_patients, new_identifier, write_copy
from reader_study.log_lines import ADJUDICATION
from reader_study.sheet import Expected, Package, Sheet
from reader_study.study import LOG, Study, package_mapping
from reader_study.unsealing import refuse_exchanged, require_complete
from reader_study.worklists import write_worklist
from recon.errors import ReconError


@dataclass(frozen=True)
class Disagreement:
    """One image: where a reader saw it first, and the items on which two differ by the rule."""

    package: Package
    presentation: Expected
    items: tuple[str, ...]


def disagreements(study: Study, sheets: Sequence[Sheet]) -> tuple[tuple[Disagreement, ...], int]:
    """(images with a disagreement, number of images that two readers scored). First looks count, repeats do not."""
    rule = _rule(study)
    by_package = {sheet.package: sheet for sheet in sheets}
    looks: dict[tuple[str, ...], dict[str, tuple[Package, Expected, Mapping[str, Any]]]] = {}
    for package in sorted(study.packages, key=lambda one: (one.reader, one.session)):
        if package.reader == rule.reader or package.id not in by_package:
            continue
        answers = {row.presentation: row.scores for row in by_package[package.id].responses}
        for entry in sorted(package.presentations, key=lambda one: one.order):
            if not entry.training and entry.id in answers:
                seen = looks.setdefault(entry.images, {})
                seen.setdefault(package.reader, (package, entry, answers[entry.id]))  # the first look
    found, compared = [], 0
    for seen in looks.values():
        given = {name: [row[2][name] for row in seen.values() if name in row[2]] for name in rule.items}
        compared += any(len(scores) > 1 for scores in given.values())
        items = tuple(name for name, scores in given.items() if scores and max(scores) - min(scores) >= rule.difference)
        if items:
            package, entry, _ = next(iter(seen.values()))
            found.append(Disagreement(package, entry, items))
    return tuple(found), compared


def adjudicate(study: Study, sheets: Sequence[Sheet]) -> audit_log.LogEntry:
    """Write the adjudicator's package and worklist, in random order, and log them; of no disagreement the line alone.

    Raises ReconError where the protocol has no rule, a reading is missing without a deviation, the key was opened, it
    was done before, or a package that must be copied is not here. Nothing is left behind then.
    """
    rule = _rule(study)
    study.require_export()
    if study.unsealed or study.adjudicated is not None:
        done = "the key was opened" if study.unsealed else "the disagreements were handed out before"
        raise ReconError(f"{study.folder}: {done}; nothing can be adjudicated any more")
    refuse_exchanged(study, sheets)
    require_complete(study, sheets, "nothing is adjudicated, ")
    found, compared = disagreements(study, sheets)
    details: dict[str, Any] = {
        "reader": rule.reader,
        "compared": compared,
        "packages": [],
        "worklists": {},
        "shows": {},
    }
    details["sheets"] = {sheet.package: digest(sheet.payload()) for sheet in sheets}
    if not found:
        return audit_log.append(study.folder / LOG, ADJUDICATION, details)
    shuffled = list(found)
    secrets.SystemRandom().shuffle(shuffled)
    shown = [
        Copied(
            replace(one.presentation, id=new_identifier(), order=order, training=False, guess=False),
            one.package,
            one.presentation.id,
        )
        for order, one in enumerate(shuffled, start=1)
    ]
    details["shows"] = {
        copied.expected.id: {"presentation": copied.source, "items": list(one.items)}
        for copied, one in zip(shown, shuffled, strict=True)
    }
    return _write(study, rule, shown, details)


def _write(study: Study, rule: Adjudication, shown: Sequence[Copied], details: dict[str, Any]) -> audit_log.LogEntry:
    with addition(study) as new:
        settings = {"sessions": 1, "only_items": list(rule.items)}
        package = write_copy(new.folder, study, shown, rule.reader, 1, settings)
        worklists = write_worklist(new.folder, package, copied_patients(study, shown))
        details |= {"packages": [package_mapping(package)], "worklists": worklists}
        return new.logged(ADJUDICATION, details, [package], list(worklists))


def _rule(study: Study) -> Adjudication:
    if study.protocol.adjudication is None:
        raise ReconError(
            f"{study.folder}: the protocol has no key 'adjudication'; the rule is frozen with the protocol"
        )
    return study.protocol.adjudication

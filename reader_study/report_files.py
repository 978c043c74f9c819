"""The report on disk: HTML, Markdown with figures, JSON, and the scores as CSV."""

import csv
import io
import json
from pathlib import Path

import numpy as np

from reader_study import several_arms
from reader_study.analysis_result import Analysis, as_mapping
from reader_study.arms_report import family_claims, family_document, family_limits
from reader_study.claim import claim, limits
from reader_study.document import pictures, to_html, to_markdown
from reader_study.localised import MarkedReading
from reader_study.observations import Observations
from reader_study.provenance import Provenance
from reader_study.report import document
from reader_study.several_arms import FamilyAnalysis
from recon.atomic import atomic_path


def scores_table(analysis: Analysis | FamilyAnalysis, found: Observations) -> str:
    """Every score with its arm as CSV, so that the analysis can be repeated with any other program.

    Of a study of accuracy the last column says whether the case has the condition.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    truth = analysis.protocol.truth
    header = ["reader", "cohort", "case", "arm", "reading", "order", "item", "score", "score_higher_is_better"]
    rows.writerow(header if truth is None else [*header, "condition"])
    arms = analysis.protocol.arm_names
    for item in analysis.protocol.items:
        for reading, source in ((1, found.raw), (2, found.repeats)):
            values = source[item.id]
            for arm, reader, case in np.argwhere(np.isfinite(values)).tolist():
                score = values[arm, reader, case]
                oriented = item.oriented(score) if item.scale else score
                order = found.order[arm, reader, case]
                place = f"{order:.0f}" if reading == 1 and np.isfinite(order) else ""
                name = found.cases[case]
                cohort = analysis.protocol.cohort_of(name)
                facts = [found.readers[reader], cohort, name, arms[arm], reading, place]
                verdict = [] if truth is None else ["present" if name in truth.diseased else "absent"]
                rows.writerow([*facts, item.id, f"{score:g}", f"{oriented:g}", *verdict])
    return text.getvalue()


def marks_table(found: Observations) -> str:
    """Every marked lesion with its verdict as CSV; a reading without marks has a row of its own without confidence."""
    assert found.located is not None  # the caller has looked
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    place = ["sequence", "slice", "x", "y", "confidence", "lesion", "distance_mm"]
    rows.writerow(["reader", "case", "lesions_in_case", "arm", "reading", *place])
    known = dict(zip(found.cases, found.located.lesions.tolist(), strict=True))

    def reading(one: MarkedReading) -> list[object]:
        return [one.reader, one.case, known[one.case], one.arm, 2 if one.repeat else 1]

    for own in found.located.readings:
        if not own.marks:
            rows.writerow([*reading(own), *[""] * len(place)])
    for judged in found.located.marks:
        mark, away = judged.mark, judged.distance
        shown = [mark.sequence, mark.slice, mark.x, mark.y, mark.confidence, judged.lesion or ""]
        rows.writerow([*reading(judged.reading), *shown, f"{away:.2f}" if np.isfinite(away) else ""])
    return text.getvalue()


def write_report(
    folder: str | Path, analysis: Analysis | FamilyAnalysis, found: Observations, provenance: Provenance
) -> dict[str, Path]:
    """Write report.html, report.md with figures/, analysis.json, scores.csv and, where lesions were marked, marks.csv;
    gives their paths.

    Each file appears whole or not at all. Raises ReconError when the folder cannot be written.
    """
    folder = Path(folder)
    if isinstance(analysis, FamilyAnalysis):
        page, values = family_document(analysis, found, provenance), several_arms.as_mapping(analysis)
    else:
        page, values = document(analysis, found, provenance), as_mapping(analysis)
    contents = {f"figures/{picture.name}.svg": picture.svg for picture in pictures(page)}
    contents["scores.csv"] = scores_table(analysis, found)
    if found.located is not None:
        contents["marks.csv"] = marks_table(found)
    details = {**values, "claim": page.claim, "limits": list(page.limits), "notice": page.notice}
    contents["analysis.json"] = json.dumps(details, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    contents["report.md"] = to_markdown(page, "figures")
    contents["report.html"] = to_html(page)
    written = {}
    for name, content in contents.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
        written[name] = folder / name
    return written


def summary(analysis: Analysis | FamilyAnalysis) -> list[str]:
    """A few lines for the terminal."""
    if isinstance(analysis, FamilyAnalysis):
        return [*family_claims(analysis), *(f"- {line}" for line in family_limits(analysis))]
    return [claim(analysis), *(f"- {line}" for line in limits(analysis))]

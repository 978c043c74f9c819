"""What a check found as one HTML page: the verdict, which scan raised which alarm and when, the windows, the charts.

The page stands by itself: its charts are in it, it loads nothing and runs nothing.
"""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from recon.atomic import atomic_path
from recon.monitoring.charts import charts_png
from recon.monitoring.check import Check, StratumCheck, Window
from recon.monitoring.features import TITLES

STYLE = """
body { background: #0b0d10; color: #f2f4f7; font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2.5rem }
.verdict { border-left: .4rem solid #5fb878; padding: .6rem 1rem; background: #161a20 }
.changed { border-color: #ffb454 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem .8rem; text-align: left;
        border-bottom: 1px solid #2a3038 }
.note { color: #9aa3ad } img { max-width: 100% } .moved { color: #ffb454 }
"""


def write_page(path: Path, check: Check) -> None:
    """Write the page; it appears only when complete. Raises ReconError when it cannot be written."""
    text = page_of(check)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page_of(check: Check) -> str:
    """The whole page."""
    state = " changed" if check.changed else ""
    parts = [
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8"><title>recon monitor</title>',
        f"<style>{STYLE}</style></head><body>", "<h1>Watch on reconstructions</h1>",
        f'<p class="verdict{state}">{escape(check.verdict)}</p>',
    ]  # fmt: skip
    if check.unjudged:
        rows = [[name, str(count)] for name, count in check.unjudged]
        parts += ["<h2>Not judged: no baseline</h2>", _table(["stratum", "scans"], rows)]
    for entry in check.strata:
        parts += _stratum(entry, check.level)
    return "\n".join([*parts, "</body></html>", ""])


def _stratum(entry: StratumCheck, level: float) -> list[str]:
    stratum, limit = entry.stratum, entry.stratum.limit
    order = "by time of acquisition" if entry.by_time else "as they were given (no times are stated)"
    notes = [
        f"{len(entry.scans)} scans, in order {order}; baseline: {len(stratum.persons)} scans of "
        f"{len(set(stratum.persons))} persons.",
        f"Charts: CUSUM of {len(stratum.figures)} figures, one limit of {limit.value:.2f} for all. Scans without a "
        f"change between two false alarms: at least {limit.stated:g} with probability {limit.confidence:g} over "
        f"baselines of this size (90 % of them: {limit.range_words}).",
        f"Windows: permutation test of the maximum mean discrepancy over "
        f"{'figures and embeddings' if stratum.embeddings is not None else 'all figures'}, by person; Holm over all "
        f"windows of the page at {100 * level:g} %.",
    ]
    if stratum.left_out:
        notes.append(f"Not charted, as it does not vary in the baseline or is missing: {', '.join(stratum.left_out)}.")
    parts = [f"<h2>{escape(stratum.name)}</h2>", *(f'<p class="note">{escape(note)}</p>' for note in notes)]
    if entry.alarms:
        head, rows = ["scan", "name", "alarm", "since scan"], [
            [str(a.number), a.scan, f"{TITLES.get(a.figure, a.figure)} {a.direction}", f"{a.since_number} ({a.since})"]
            for a in entry.alarms
        ]  # fmt: skip
        if entry.by_time:
            head.append("acquired")
            rows = [[*row, a.acquired_at or ""] for row, a in zip(rows, entry.alarms, strict=True)]
        parts.append(_table(head, rows))
    else:
        parts.append("<p>No chart raised an alarm.</p>")
    if entry.windows:
        head = ["scans", "p", "changed", "moved most (standard deviations)"]
        parts.append(_table(head, [_window_row(window) for window in entry.windows]))
    picture = base64.b64encode(charts_png(entry)).decode()
    return [*parts, f'<img alt="charts of {escape(stratum.name)}" src="data:image/png;base64,{picture}">']


def _window_row(window: Window) -> list[str]:
    moved = ", ".join(f"{TITLES.get(name, name)} {shift:+.1f}" for name, shift in window.moved)
    return [f"{window.first} to {window.last}", f"{window.p_value:.4f}", "yes" if window.changed else "no", moved]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    cells += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table>{''.join(cells)}</table>"

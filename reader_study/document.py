"""A report as plain data, and its two faces: one self-contained HTML page and one Markdown file."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

from reader_study.document_style import STYLE


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of short sentences."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table; columns after the first ``text_columns`` hold numbers and are set to the right."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    text_columns: int = 1


@dataclass(frozen=True)
class Picture:
    """A figure as an ``<svg>`` element, with its legend. ``name`` is its file name beside the Markdown."""

    name: str
    svg: str
    caption: str


ReportBlock = Paragraph | Bullets | Table | Picture


@dataclass(frozen=True)
class Section:
    """A headed part of the report; ``folded`` sections start closed in the HTML page."""

    title: str
    blocks: tuple[ReportBlock, ...]
    folded: bool = False


@dataclass(frozen=True)
class Document:
    """The whole report. ``shown`` colours the claim; ``notice`` stands above everything (simulated readers ...)."""

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    claim: str
    shown: bool
    limits: tuple[str, ...]
    sections: tuple[Section, ...]
    notice: str = ""


# Nothing may be fetched, whatever a protocol's texts contain.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def to_html(document: Document) -> str:
    """One HTML page without any outside reference: style and figures are inside, nothing is fetched, no scripts."""
    say = html.escape
    state = "shown" if document.shown else "not-shown"
    verdict = "Shown" if document.shown else "Not shown"
    parts = [
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>",
        f"<meta http-equiv='Content-Security-Policy' content=\"{_POLICY}\">",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{say(document.title)}</title><style>{STYLE}</style></head><body>",
    ]
    if document.notice:
        parts.append(f"<div class='notice'>{say(document.notice)}</div>")
    parts.append(f"<main><header><p class='kind'>Reader study report</p><h1>{say(document.title)}</h1>")
    parts.append(f"<p class='question'>{say(document.subtitle)}</p></header>")
    parts.append(f"<section class='claim {state}'><p class='verdict'>{verdict}</p><p class='sentence'>")
    parts.append(f"{say(document.claim)}</p>{_bullets(document.limits)}</section><dl class='facts'>")
    parts.extend(f"<div><dt>{say(name)}</dt><dd>{say(value)}</dd></div>" for name, value in document.facts)
    parts.append("</dl>")
    for section in document.sections:
        body = "".join(_html_block(block) for block in section.blocks)
        if section.folded:
            parts.append(f"<details><summary><h2>{say(section.title)}</h2></summary>{body}</details>")
        else:
            parts.append(f"<section><h2>{say(section.title)}</h2>{body}</section>")
    parts.append("</main></body></html>\n")
    return "".join(parts)


def _bullets(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"


def _html_block(block: ReportBlock) -> str:
    say = html.escape
    if isinstance(block, Paragraph):
        return f"<p>{say(block.text)}</p>"
    if isinstance(block, Bullets):
        return _bullets(block.lines)
    if isinstance(block, Picture):
        # As an image the figure cannot clash with another figure's ids, and scales to the page.
        data = base64.b64encode(block.svg.encode()).decode()
        image = f"<img alt='{say(block.caption, quote=True)}' src='data:image/svg+xml;base64,{data}'>"
        return f"<figure>{image}<figcaption>{say(block.caption)}</figcaption></figure>"

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{'' if at < block.text_columns else ' class=n'}>{say(cell)}</{tag}>" for at, cell in enumerate(row)
        )

    caption = f"<caption>{say(block.caption)}</caption>" if block.caption else ""
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in block.rows)
    head = f"<thead><tr>{cells(block.header, 'th')}</tr></thead>"
    named = " class=named" if block.text_columns < 3 else ""
    return f"<div class='table'><table{named}>{caption}{head}<tbody>{body}</tbody></table></div>"


def to_markdown(document: Document, figures: str) -> str:
    """The same report as Markdown; figures are linked as ``figures/NAME.svg``. No text becomes markup."""
    lines = [f"# {_plain(document.title)}", ""]
    if document.notice:
        lines += [f"> **{_plain(document.notice)}**", ""]
    lines += [f"*{_plain(document.subtitle)}*", "", "## Claim", "", f"**{_plain(document.claim)}**", ""]
    lines += [f"- {_plain(line)}" for line in document.limits]
    lines += ["", *_markdown_table(Table(("fact", "value"), document.facts, text_columns=2)), ""]
    for section in document.sections:
        lines += [f"## {_plain(section.title)}", ""]
        for block in section.blocks:
            if isinstance(block, Paragraph):
                lines += [_plain(block.text)]
            elif isinstance(block, Bullets):
                lines += [f"- {_plain(line)}" for line in block.lines]
            elif isinstance(block, Picture):
                caption = _plain(block.caption)
                lines += [f"![{caption}]({figures}/{block.name}.svg)", "", f"*{caption}*"]
            else:
                lines += _markdown_table(block)
            lines.append("")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text that a Markdown reader takes for neither HTML nor a link, on one line."""
    return html.escape(text, quote=False).replace("[", "\\[").replace("\n", " ")


def _markdown_table(table: Table) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |"

    marks = ["---" if at < table.text_columns else "---:" for at in range(len(table.header))]
    caption = [f"*{_plain(table.caption)}*", ""] if table.caption else []
    return [*caption, line(table.header), line(marks), *(line(row) for row in table.rows)]


def pictures(document: Document) -> list[Picture]:
    """Every figure of the report, in order."""
    return [block for section in document.sections for block in section.blocks if isinstance(block, Picture)]

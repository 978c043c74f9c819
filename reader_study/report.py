"""From an analysis to its report: the document's sections, in the order in which a reader asks for them."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reader_study import figures
from reader_study.analysis import Analysis, as_mapping
from reader_study.checklists import claim_2024, grras
from reader_study.claim import claim, limits, number
from reader_study.document import (
    Block,
    Bullets,
    Document,
    Paragraph,
    Picture,
    Section,
    Table,
    pictures,
    to_html,
    to_markdown,
)
from reader_study.observations import Observations
from reader_study.report_tables import (
    agreement_table,
    blinding_table,
    descriptive_table,
    drift_table,
    flag_table,
    interchangeability_table,
    item_table,
    missing_table,
    one_sided_test,
    preference_table,
    reader_table,
    repeatability_table,
    sensitivity_table,
)
from recon.atomic import atomic_path


@dataclass(frozen=True)
class Provenance:
    """Where the scores came from: for the report's first page and its audit section."""

    study: str
    protocol_version: str
    log_head: str
    deviations: tuple[str, ...] = ()
    unsigned: tuple[str, ...] = ()
    sealed: bool = True
    notice: str = ""
    version: str = ""


def document(analysis: Analysis, found: Observations, provenance: Provenance) -> Document:
    """The report of one analysis."""
    protocol, decision = analysis.protocol, analysis.decision
    facts = (
        ("Primary item", f"{decision['item']}, {protocol.primary.hypothesis}"),
        ("Margin and alpha", f"{number(decision['margin'])}; {decision['alpha']:g} one-sided"),
        ("Readers", f"{len(analysis.readers)}, analysed as {decision['readers']}"),
        ("Cases", f"{decision['cases']} complete of {len(protocol.case_ids)}"),
        ("Arms", f"{protocol.new} against {protocol.reference}"),
        ("Reading", f"{protocol.mode}, {protocol.sessions.count} session{'s' * (protocol.sessions.count > 1)}"),
        ("Protocol", f"{provenance.protocol_version} {protocol.hash[:16]}"),
        ("Log ends with", provenance.log_head[:16] or "no sealed study"),
    )
    return Document(
        title=protocol.title,
        subtitle=protocol.question,
        facts=facts,
        claim=claim(analysis),
        shown=analysis.claimed,
        limits=tuple(limits(analysis)),
        sections=tuple(_sections(analysis, found, provenance)),
        notice=provenance.notice,
    )


def _sections(analysis: Analysis, found: Observations, provenance: Provenance) -> list[Section]:
    primary = analysis.primary
    drift_figure = figures.order_drift(analysis, found)
    drift_blocks: list[Block] = (
        [drift_table(analysis)] if primary.drift else [Paragraph("The reading order is not known.")]
    )
    if drift_figure is not None:
        caption = (
            f"Item {primary.item} over the reading order, one point a reading (shaken), lines are running means. "
            "A slope shared by both arms is fatigue or learning and cancels in the comparison."
        )
        drift_blocks.insert(0, Picture("order", drift_figure, caption))
    forest = Picture(
        "forest",
        figures.forest(analysis),
        f"Mean difference {analysis.protocol.new} minus {analysis.protocol.reference} of every item, turned so that "
        f"right is better, with two-sided {100 * (1 - 2 * analysis.decision['alpha']):g} % intervals over "
        f"{analysis.decision['cases']} cases; circles are single readers. Only the primary item carries a claim.",
    )
    likert = Picture(
        "likert",
        figures.likert(analysis),
        "Share of every score in per cent, all readers together, as given; blue is the good end of each scale. "
        "Descriptive: readings of one case are not independent.",
    )
    sections = [
        Section("Results", (forest, item_table(analysis), Paragraph(f"Multiplicity: {analysis.multiplicity}."))),
        Section("Scores", (likert, descriptive_table(analysis))),
        Section("Each reader and cohort", (reader_table(analysis),)),
        Section(
            "Does another analysis agree?", (sensitivity_table(analysis), *_random_note(analysis), *_notes(analysis))
        ),
        Section("Missing scores", (missing_table(analysis),)),
        Section("Preference and interchangeability", _preference_blocks(analysis)),
        Section("Reliability", _reliability_blocks(analysis)),
        Section("Reading order", tuple(drift_blocks)),
        Section("Blinding, flags and reading time", _blinding_blocks(analysis)),
        Section("Provenance", _provenance_blocks(analysis, provenance)),
        Section("Methods", tuple(Paragraph(text) for text in methods(analysis)), folded=True),
        *_within_readers(analysis),
        _checklist("CLAIM 2024", claim_2024(analysis, provenance.sealed)),
        _checklist("GRRAS", grras(analysis, provenance.sealed)),
    ]
    return sections


def _within_readers(analysis: Analysis) -> tuple[Section, ...]:
    if not any(item.repeatability for item in analysis.items):
        return ()
    return (Section("Agreement within each reader", (repeatability_table(analysis),), folded=True),)


def _checklist(title: str, rows: list[tuple[str, str, str]]) -> Section:
    return Section(title, (Table(("no.", "item", "in this study"), tuple(rows), text_columns=3),), folded=True)


def _random_note(analysis: Analysis) -> tuple[Paragraph, ...]:
    count = len(analysis.readers)
    if count > 4 or analysis.primary.random is None:
        return ()
    return (
        Paragraph(
            f"With {count} readers the random-reader line rests on {count - 1} degree{'s' if count > 2 else ''} of "
            "freedom for the readers: it is shown to be honest about other readers, not to replace the primary test."
        ),
    )


def _notes(analysis: Analysis) -> tuple[Bullets, ...]:
    """What could not be computed, and why."""
    lines = [f"{item.item}: {note}." for item in analysis.items for note in item.notes]
    lines += [f"{text}." for text in analysis.skipped]
    return (Bullets(tuple(lines)),) if lines else ()


def _preference_blocks(analysis: Analysis) -> tuple[Paragraph | Table, ...]:
    blocks: list[Paragraph | Table] = [preference_table(analysis)]
    if any(item.interchangeability is not None for item in analysis.items):
        blocks.append(interchangeability_table(analysis))
    return tuple(blocks)


def _reliability_blocks(analysis: Analysis) -> tuple[Paragraph | Table, ...]:
    blocks: list[Paragraph | Table] = []
    if any(item.reliability for item in analysis.items):
        blocks.append(agreement_table(analysis))
    else:
        blocks.append(Paragraph("One reader: agreement between readers does not apply."))
    if not any(item.repeatability for item in analysis.items):
        blocks.append(Paragraph("No case was read twice by one reader: agreement within readers is not known."))
    return tuple(blocks)


def _blinding_blocks(analysis: Analysis) -> tuple[Paragraph | Table, ...]:
    blocks: list[Paragraph | Table] = []
    if analysis.blinding:
        blocks.append(blinding_table(analysis))
    else:
        blocks.append(Paragraph("The readers' guesses of the arm were not collected: blinding is not tested."))
    if analysis.flags:
        blocks.append(flag_table(analysis))
    if analysis.reading_seconds:
        times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in analysis.reading_seconds.items())
        blocks.append(Paragraph(f"Median reading time per image: {times}. Comments: {analysis.comments}."))
    return tuple(blocks)


def _provenance_blocks(analysis: Analysis, provenance: Provenance) -> tuple[Bullets, ...]:
    lines = [
        f"Protocol {provenance.protocol_version}, SHA-256 {analysis.protocol.hash}.",
        "The key was sealed until the scores were in and matches the commitment in the packages and the log."
        if provenance.sealed
        else "The arm of every score came with the table: nothing was sealed, blinding rests on the authors' word.",
    ]
    if provenance.log_head:
        lines.append(f"Audit log, hash of the last line before this analysis: {provenance.log_head}.")
    if provenance.unsigned:
        lines.append(f"Scores without a reader's signature: {', '.join(provenance.unsigned)}.")
    lines.append(f"Logged deviations: {len(provenance.deviations)}.")
    lines.extend(f"Deviation: {text}" for text in provenance.deviations)
    lines.append(f"Analysed with recon {provenance.version}, seed {analysis.seed} (bootstrap and imputation).")
    return (Bullets(tuple(lines)),)


def methods(analysis: Analysis) -> list[str]:
    """How everything was computed, ready for a statistician to check."""
    d, protocol = analysis.decision, analysis.protocol
    level = f"{100 * (1 - 2 * d['alpha']):g} %"
    test = one_sided_test(analysis).capitalize()
    return [
        f"Primary test ({d['method']}): d is the score of {protocol.new} minus that of {protocol.reference}, turned "
        f"so that higher is better. {test} is t = (mean d + margin) / SE, claimed where the one-sided lower bound lies "
        f"above {number(-d['margin'])}. The case is the unit: rows of reader x case are never pooled. "
        f"Intervals are two-sided at {level}.",
        "Random readers: Obuchowski-Rockette with covariances from the jackknife over the cases and Hillis' degrees "
        "of freedom, SE = sqrt(2 [MS(TR) + r max(Cov2 − Cov3, 0)] / r).",
        "Ordinal model: cumulative logit link, arm and reader fixed, case a normal random intercept, adaptive "
        "Gauss-Hermite quadrature (10 nodes), Wald interval.",
        "Wilcoxon signed-rank test and Hodges-Lehmann estimate on the per-case mean differences.",
        "Interchangeability: probability that two different readers disagree when one reads the new image, minus the "
        "same with both on the reference; 95 % percentile interval from a bootstrap of the cases.",
        "Preference: cases in which the new arm scored higher or lower (or was chosen), ties kept; Tango's score "
        "interval for the difference of the shares, exact sign test.",
        "Reliability: quadratically weighted Cohen kappa of reader pairs, Fleiss' kappa, Gwet's AC1 and AC2 "
        "(quadratic), Krippendorff's alpha (ordinal), Shrout and Fleiss' intraclass correlations, F-based intervals.",
        "Reading order: change of the score from the first to the last reading within cases, standard errors "
        "clustered by case; the interaction is the extra change of the new arm. Pairs shown together: regression of "
        "the pair's mean and difference on the order, robust errors (HC3).",
        "Missing scores: complete cases in the primary analysis; every missing score replaced by the worst or the "
        "best of the scale; 50 imputations of the missing differences (Rubin's rules); the tipping point is the "
        "penalty on each imputed difference that takes the claim away.",
        "Blinding: Bang's index for every reader and arm. Flags: exact McNemar test on cases.",
    ]


def scores_table(analysis: Analysis, found: Observations) -> str:
    """Every score with its arm as CSV, so that the analysis can be repeated with any other program."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["reader", "cohort", "case", "arm", "reading", "order", "item", "score", "score_higher_is_better"])
    arms = (analysis.protocol.reference, analysis.protocol.new)
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
                rows.writerow([*facts, item.id, f"{score:g}", f"{oriented:g}"])
    return text.getvalue()


def write_report(
    folder: str | Path, analysis: Analysis, found: Observations, provenance: Provenance
) -> dict[str, Path]:
    """Write report.html, report.md with figures/, analysis.json and scores.csv; gives their paths.

    Each file appears whole or not at all. Raises ReconError when the folder cannot be written.
    """
    folder = Path(folder)
    page = document(analysis, found, provenance)
    contents = {f"figures/{picture.name}.svg": picture.svg for picture in pictures(page)}
    contents["scores.csv"] = scores_table(analysis, found)
    details = {**as_mapping(analysis), "claim": page.claim, "limits": list(page.limits), "notice": page.notice}
    contents["analysis.json"] = json.dumps(details, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    contents["report.md"] = to_markdown(page, "figures")
    contents["report.html"] = to_html(page)
    written = {}
    for name, content in contents.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
        written[name] = folder / name
    return written


def summary(analysis: Analysis) -> list[str]:
    """A few lines for the terminal."""
    return [claim(analysis), *(f"- {line}" for line in limits(analysis))]

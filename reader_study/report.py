"""From an analysis to its report: the document's sections, in the order in which a reader asks for them."""

from reader_study.analyses import table
from reader_study.analyses.statistic import OTHER_ANALYSES
from reader_study.analyses.subsets import SUBSETS
from reader_study.analysis_result import Analysis
from reader_study.checklists import claim_2024, grras
from reader_study.claim import claim, curve, digits, limits, primary_item, readers_counted
from reader_study.document import Bullets, Document, Paragraph, Picture, ReportBlock, Section, Table
from reader_study.figures.forest import forest
from reader_study.observations import Observations
from reader_study.protocol import Protocol
from reader_study.provenance import Provenance
from reader_study.report_tables import item_table, other_analyses
from reader_study.sequences import described
from reader_study.wording import number

SUBSET_METHODS = (
    "Case subsets: a reading that was not planned is not missing. Primary test: the mean over the readers of each "
    "one's mean difference over his cases, its variance from each case's share in it. Signed ranks and preference by "
    "case: the mean over the readers who were to read the case. Interchangeability: the pairs of a case's own readers. "
    "Fleiss' kappa and the intraclass correlations ICC(1,1) and ICC(1,k): the cases that all their own readers scored; "
    "the other four correlations need readers crossed with cases and are not given. The test that all arms are equal, "
    "of three and more arms, needs complete cases and is not made."
)


RANDOM_METHODS = (
    "Random readers: Obuchowski-Rockette with covariances from the jackknife over the cases and Hillis' degrees of "
    "freedom, to which those of the covariances are added (Satterthwaite); "
    "SE = sqrt(2 [MS(TR) + r max(Cov2 − Cov3, 0)] / r)."
)


def document(analysis: Analysis, found: Observations, provenance: Provenance) -> Document:
    """The report of one analysis."""
    protocol = analysis.protocol
    cases = f"{analysis.decision['cases']} complete of {len(protocol.case_ids)}"
    arms = f"{protocol.new} against {protocol.reference}"
    return Document(
        title=protocol.title,
        subtitle=protocol.question,
        facts=facts(protocol, analysis, provenance, cases=cases, arms=arms),
        claim=claim(analysis),
        shown=analysis.claimed,
        limits=(*limits(analysis), *provenance.departures),
        sections=tuple(_sections(analysis, found, provenance)),
        notice=provenance.notice,
    )


def facts(
    protocol: Protocol, analysis: Analysis, provenance: Provenance, *, cases: str, arms: str, shared: str = ""
) -> tuple[tuple[str, str], ...]:
    """The facts at the head of every report; ``shared`` says for what the error rate is."""
    margin = number(protocol.primary.margin, digits(primary_item(analysis)))
    return (
        ("Primary item", f"{protocol.primary.item}, {protocol.primary.hypothesis}"),
        ("Margin and alpha", f"{margin}; {protocol.primary.alpha:g} one-sided{shared}"),
        ("Readers", f"{readers_counted(analysis)}, analysed as {protocol.primary.readers}"),
        ("Cases", cases),
        ("Arms", arms),
        ("Reading", f"{protocol.mode}, {protocol.sessions.count} session{'s' * (protocol.sessions.count > 1)}"),
        *((("Shown", described(protocol.sequences)),) if protocol.sequences else ()),
        *((("Marks", str(protocol.localisation)),) if protocol.localisation is not None else ()),
        ("Protocol", f"{provenance.protocol_version} {protocol.hash[:16]}"),
        ("Log ends with", provenance.log_head[:16] or "no sealed study"),
    )


def _sections(analysis: Analysis, found: Observations, provenance: Provenance) -> list[Section]:
    sections = comparison_sections(analysis, found)
    folded = [section for section in sections if section.folded]
    return [
        *(section for section in sections if not section.folded),
        provenance_section(analysis, provenance),
        Section("Methods", tuple(Paragraph(text) for text in methods(analysis)), folded=True),
        *folded,
        checklist("CLAIM 2024", claim_2024(analysis, provenance)),
        checklist("GRRAS", grras(analysis, provenance)),
    ]


def comparison_sections(analysis: Analysis, found: Observations) -> list[Section]:
    """What one comparison found: the results and every statistic."""
    results = (_forest(analysis), item_table(analysis), Paragraph(f"Multiplicity: {analysis.multiplicity}."))
    return [Section("Results", results), *_statistics(analysis, found)]


def _statistics(analysis: Analysis, found: Observations) -> list[Section]:
    """The sections of the table of statistics, in its order; sections without a block are left out."""
    blocks: dict[str, list[ReportBlock]] = {}
    folded: dict[str, bool] = {}
    for statistic in table.STATISTICS:
        if statistic.section not in blocks:
            blocks[statistic.section], folded[statistic.section] = [], statistic.folded
            if statistic.section == OTHER_ANALYSES:
                blocks[OTHER_ANALYSES] += [other_analyses(analysis), *_random_note(analysis), *_notes(analysis)]
        blocks[statistic.section] += statistic.blocks(analysis, found)
    return [Section(title, tuple(inside), folded[title]) for title, inside in blocks.items() if inside]


def _forest(analysis: Analysis) -> Picture:
    subsets = {item.item: SUBSETS.of(item) for item in analysis.items}
    unit = f"area under the {curve(analysis)}" if curve(analysis) else "points"
    readers = {name: [test.estimate for test in own.by_reader.values()] for name, own in subsets.items() if own}
    return Picture(
        "forest",
        forest(analysis, readers),
        f"Mean difference {analysis.protocol.new} minus {analysis.protocol.reference} of every item in the primary "
        f"one's unit ({unit}), turned so that right is better, "
        f"with two-sided {100 * analysis.primary.planned.level:g} % intervals over "
        f"{analysis.decision['cases']} cases; circles are single readers. Only the primary item carries a claim.",
    )


def checklist(title: str, rows: list[tuple[str, str, str]]) -> Section:
    """A reporting guideline, folded."""
    return Section(title, (Table(("no.", "item", "in this study"), tuple(rows), text_columns=3),), folded=True)


def _random_note(analysis: Analysis) -> tuple[Paragraph, ...]:
    count = analysis.compared
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
    lines += [f"{text}." for text in (*analysis.notes, *analysis.skipped)]
    return (Bullets(tuple(lines)),) if lines else ()


def provenance_section(analysis: Analysis, provenance: Provenance) -> Section:
    """Where the scores came from and what differed from the plan."""
    lines = [f"Protocol {provenance.protocol_version}, SHA-256 {analysis.protocol.hash}."]
    if not provenance.sealed:
        lines.append(
            "The arm of every score came with the table: nothing was sealed, blinding rests on the authors' word."
        )
    known = provenance.conduct
    lines += known.facts
    lines += [f"Departure from the plan: {text}" for text in known.departures]
    lines += [f"Not known: {text}" for text in known.unknown]
    if provenance.log_head:
        lines.append(f"Audit log, hash of the last line before this analysis: {provenance.log_head}.")
    if provenance.unsigned:
        lines.append(f"Scores without a reader's signature: {', '.join(provenance.unsigned)}.")
    lines.append(f"Logged deviations: {len(provenance.deviations)}.")
    lines.extend(f"Deviation: {text}" for text in provenance.deviations)
    lines.append(f"Analysed with recon {provenance.version}, seed {analysis.seed} (bootstrap and imputation).")
    return Section("Provenance", (Bullets(tuple(lines)),))


def methods(analysis: Analysis) -> list[str]:
    """How everything that stands in this report was computed, ready for a statistician to check."""
    d, protocol, test = analysis.decision, analysis.protocol, analysis.one_sided_test.capitalize()
    bound = number(-d["margin"], digits(primary_item(analysis)))
    merit = f"mean area under the {curve(analysis)}" if curve(analysis) else "score"
    return [
        f"Primary test ({d['method']}): d is the {merit} of {protocol.new} minus that of {protocol.reference}, turned "
        f"so that higher is better. {test} is t = (mean d + margin) / SE, claimed where the one-sided lower bound lies "
        f"above {bound}. The case is the unit: rows of reader x case are never pooled. "
        f"Intervals are two-sided at {100 * analysis.primary.planned.level:g} %.",
        *((RANDOM_METHODS,) if any(item.random is not None for item in analysis.items) else ()),
        *(statistic.methods for statistic in table.STATISTICS if statistic.methods and analysis.has(statistic.name)),
        *((SUBSET_METHODS,) if protocol.readers_per_case is not None else ()),
    ]

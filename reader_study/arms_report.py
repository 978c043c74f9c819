"""The report of three and more arms: what is claimed together, then each comparison with all its statistics."""

from dataclasses import replace

from reader_study.analysis_result import Analysis
from reader_study.checklists import claim_2024, grras
from reader_study.claim import claim, digits, limits, primary_item
from reader_study.document import Document, Paragraph, Picture, ReportBlock, Section, Table
from reader_study.observations import Observations, versus
from reader_study.provenance import Provenance
from reader_study.report import checklist, comparison_sections, facts, methods, provenance_section
from reader_study.several_arms import FamilyAnalysis
from reader_study.wording import interval, number, p_cell, p_text, verdict


def family_claims(family: FamilyAnalysis) -> list[str]:
    """One sentence for each comparison."""
    return [claim(part) for part in family.comparisons]


def family_limits(family: FamilyAnalysis) -> list[str]:
    """What the results do not say."""
    shared = f"The {len(family.comparisons)} comparisons share one error rate: {family.procedure}. "
    shared += "New arms are compared with the reference, and not with one another."
    return list(dict.fromkeys([shared, *(line for part in family.comparisons for line in limits(part))]))


def family_document(family: FamilyAnalysis, found: Observations, provenance: Provenance) -> Document:
    """The report of one analysis of three or more arms."""
    protocol, first = family.protocol, family.comparisons[0]
    cases = f"{len(protocol.case_ids)} planned"
    arms = f"{', '.join(protocol.compared)}, each against {protocol.reference}"
    shared = ", for all comparisons together"
    return Document(
        title=protocol.title,
        subtitle=protocol.question,
        facts=facts(protocol, first, provenance, cases=cases, arms=arms, shared=shared),
        claim=" ".join(family_claims(family)),
        shown=family.claimed,
        limits=(*family_limits(family), *provenance.departures),
        sections=tuple(_sections(family, found, provenance)),
        notice=provenance.notice,
    )


def _sections(family: FamilyAnalysis, found: Observations, provenance: Provenance) -> list[Section]:
    protocol = family.protocol
    sections = [Section("Comparisons with the reference", _together(family))]
    for new, part in zip(protocol.compared, family.comparisons, strict=True):
        for section in comparison_sections(part, versus(found, protocol, new)):
            blocks = tuple(_named(block, new) for block in section.blocks)
            title = f"{new} against {protocol.reference}: {section.title}"
            sections.append(Section(title, blocks, section.folded or section.title != "Results"))
    # The guidelines ask about the whole study: its arms, and the claims of all comparisons.
    whole = replace(family.comparisons[0], protocol=protocol)
    return [
        *sections,
        provenance_section(whole, provenance),
        Section("Methods", tuple(Paragraph(text) for text in _methods(family)), folded=True),
        checklist("CLAIM 2024", claim_2024(whole, provenance, family.comparisons)),
        checklist("GRRAS", grras(whole, provenance, family.comparisons)),
    ]


def _together(family: FamilyAnalysis) -> tuple[ReportBlock, ...]:
    rows, first = [], family.comparisons[0]
    places = digits(primary_item(first))
    for part, one in zip(family.comparisons, family.together, strict=True):
        estimate = part.primary.planned.estimate
        bound = "–" if one.lower_bound == -float("inf") else number(one.lower_bound, places)
        cells = (number(estimate, places), interval(one.low, one.high, places), bound)
        rows.append((one.name, *cells, p_cell(one.p_value), p_cell(one.p_adjusted), verdict(one.claimed)))
    level = f"{100 * first.primary.planned.level:g} %"
    header = ("new arm", "difference", f"simultaneous {level}", "simultaneous lower bound", "p", "p, adjusted", "claim")
    caption = (
        f"Item {first.primary.item}, {first.one_sided_test} (one-sided). {family.procedure[0].upper()}"
        f"{family.procedure[1:]}. Intervals are Bonferroni's and cover together; the lower bounds are those that fit "
        "the procedure, and equal minus the margin where nothing more than the claim is shown."
    )
    blocks: list[ReportBlock] = [Table(header, tuple(rows), caption)]
    if family.equality is not None:
        f = family.equality
        statistic = f"F({f.df_numerator:g}, {number(f.df_denominator, 1)}) = {number(f.statistic)}, {p_text(f.p_value)}"
        blocks.append(
            Paragraph(
                f"All {len(family.protocol.arms)} arms alike, readers in general (Obuchowski-Rockette): {statistic}. "
                "Descriptive; no claim depends on it."
            )
        )
    return tuple(blocks)


def _named(block: ReportBlock, new: str) -> ReportBlock:
    """Figures are files, and each comparison has its own."""
    return replace(block, name=f"{new}-{block.name}") if isinstance(block, Picture) else block


def _methods(family: FamilyAnalysis) -> list[str]:
    parts: list[Analysis] = list(family.comparisons)
    shared = (
        f"Comparisons: {family.procedure}, on the one-sided p values of the primary tests. Simultaneous lower bounds "
        "after Strassburger and Bretz; two-sided intervals at alpha divided by the number of comparisons. Each "
        "comparison rests on the scores of its two arms alone; all other intervals in its sections are not adjusted."
    )
    return list(dict.fromkeys([shared, *(text for part in parts for text in methods(part))]))

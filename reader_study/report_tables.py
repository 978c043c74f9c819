"""The report's two tables of comparisons: every item by the planned method, and the primary item by the others."""

from reader_study.analyses import table
from reader_study.analyses.statistic import Line, result_line
from reader_study.analysis_result import Analysis
from reader_study.claim import curve, digits, primary_item
from reader_study.document import Table
from reader_study.statistics.hypothesis_test import HypothesisTest
from reader_study.wording import interval, number, p_cell


def item_table(analysis: Analysis) -> Table:
    """Every item by the planned method: difference, interval, both tests named apart."""
    adjusted = {entry.name: entry for entry in analysis.adjusted}
    rows, mixed = [], False
    for item in analysis.items:
        planned, asked = item.planned, analysis.protocol.item(item.item)
        same_unit = analysis.protocol.in_primary_unit(asked)
        mixed |= not same_unit
        row = [
            item.item + (" (primary)" if item.primary else ""),
            str(planned.cases),
            number(planned.estimate, digits(asked)),
            interval(planned.low, planned.high, digits(asked)),
            p_cell(planned.p_value) if same_unit else "–",
            p_cell(planned.p_difference),
        ]
        if analysis.adjusted:
            row.append(p_cell(adjusted[item.item].p_adjusted) if item.item in adjusted else "–")
        rows.append(tuple(row))
    one_sided = f"p, {analysis.one_sided_test} (one-sided)"
    header = ["item", "cases", "difference", "interval", one_sided, "p, difference (two-sided)"]
    if analysis.adjusted:
        header.append("p, Holm")
    method = analysis.decision["method"]
    caption = f"{method[0].upper()}{method[1:]}. The two p values belong to two different tests."
    alike = sum(analysis.protocol.in_primary_unit(analysis.protocol.item(item.item)) for item in analysis.items)
    if alike > 1 and analysis.decision["margin"] > 0:
        caption += " The margin was justified for the primary item; on the others it is applied for orientation."
    if mixed:
        caption += " Differences are of an area under a curve for ratings of confidence and marks, else in points; the "
        caption += "margin has one unit and is applied to no other."
    return Table(tuple(header), tuple(rows), caption)


def other_analyses(analysis: Analysis) -> Table:
    """The primary item by both reader models and by every statistic that has a line for it."""

    asked = primary_item(analysis)

    def line(name: str, test: HypothesisTest, df_digits: int) -> Line:
        statistic = f"t({number(test.df, df_digits)}) = {number(test.statistic)}"
        mark = " (primary)" if test is primary.planned else ""
        return result_line(f"{name}{mark}", test, statistic, digits(asked))

    primary = analysis.primary
    what = f"Areas under the {curve(analysis)}" if asked.confidence else "Per-case means"
    rows = [line(f"{what}, these readers", primary.fixed, 1 if asked.confidence else 0)]
    if primary.random is not None:
        rows.append(line("Obuchowski-Rockette, readers in general", primary.random.test, 1))
    rows += [row for statistic in table.STATISTICS if (row := statistic.line(analysis)) is not None]
    caption = f"Item {primary.item}. p is one-sided for {analysis.one_sided_test} unless it says difference."
    return Table(("analysis", "estimate", "interval", "statistic", "p"), tuple(rows), caption)

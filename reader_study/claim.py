"""The claim in one sentence, and the sentences about what was not shown."""

from collections.abc import Mapping
from typing import Any

from reader_study.analyses.localisation import LOCALISATION
from reader_study.analysis_result import Analysis
from reader_study.comparison import Comparison
from reader_study.item import Item
from reader_study.wording import interval, number, p_text


def primary_item(analysis: Analysis) -> Item:
    """The item that the primary hypothesis is about."""
    return analysis.protocol.item(analysis.protocol.primary.item)


def curve(analysis: Analysis) -> str:
    """The curve whose area the primary comparison is of; "" where it is of scores."""
    return Comparison(analysis.protocol, primary_item(analysis), ()).curve


def digits(item: Item) -> int:
    """Decimals of a difference on an item: areas lie closer together than points."""
    return 3 if item.confidence else 2


def points(analysis: Analysis) -> str:
    """The unit of the primary item."""
    if curve(analysis):
        return f"of the area under the {curve(analysis)}"
    return "net preference" if analysis.protocol.mode == "preference" else "points"


def readers_counted(analysis: Analysis) -> str:
    """'5', or '4 of 5' where the primary comparison is not of all."""
    whole = len(analysis.readers)
    return str(whole) if analysis.compared == whole else f"{analysis.compared} of {whole}"


def readers_text(analysis: Analysis) -> str:
    """Whom the claim covers: who read nothing is none of them."""
    count = len(analysis.decision["compared_readers"])
    if analysis.decision["readers"] == "random":
        return f"readers like these {count}"
    return "this one reader" if count == 1 else f"these {count} readers"


def claim(analysis: Analysis) -> str:
    """The primary result in one sentence: what was shown or not, for whom, with the bound that decided it."""
    d, protocol = analysis.decision, analysis.protocol
    confidence = f"{100 * (1 - d['alpha']):g} %"
    # Two digits, more where the bound and the margin would otherwise print alike.
    usual = digits(primary_item(analysis))
    shown = usual if abs(d["lower_bound"] + d["margin"]) >= 10**-usual else usual + 2
    facts = (
        f"mean difference {number(d['estimate'], usual)} {points(analysis)}, one-sided {confidence} lower bound "
        f"{number(d['lower_bound'], shown)}"
    )
    item = f"“{protocol.item(d['item']).question.rstrip('?.')}”"
    scope = f"for {readers_text(analysis)} and {d['cases']} cases"
    if d["hypothesis"] == "superiority":
        facts += _adjusted(d)
        if d["claimed"]:
            return f"On {item}, {protocol.new} was superior to {protocol.reference} {scope} ({facts})."
        return f"Superiority of {protocol.new} over {protocol.reference} on {item} was not shown {scope} ({facts})."
    facts += f", margin −{number(d['margin'], usual)}{_adjusted(d)}"
    if d["claimed"]:
        return f"On {item}, {protocol.new} was non-inferior to {protocol.reference} {scope} ({facts})."
    return f"Non-inferiority of {protocol.new} to {protocol.reference} on {item} was not shown {scope} ({facts})."


def limits(analysis: Analysis) -> list[str]:
    """What the primary result does not say."""
    d, protocol, planned = analysis.decision, analysis.protocol, analysis.primary.planned
    lines = []
    if d["readers"] == "fixed":
        lines.append(
            f"The claim covers {readers_text(analysis)} only; it is not a statement about readers in general "
            "(the readers were analysed as fixed)."
        )
    elif len(d["compared_readers"]) < 5:
        lines.append(f"With {len(d['compared_readers'])} readers the spread between readers is known only roughly.")
    if d["hypothesis"] == "non-inferiority":
        limits_text = interval(planned.low, planned.high, digits(primary_item(analysis)))
        if planned.low > 0:
            lines.append(
                f"Superiority is a different test: the test against zero gives {_p(analysis)} in favour of "
                f"{protocol.new}; it was not the primary hypothesis."
            )
        elif planned.high < 0:
            lines.append(
                f"{protocol.new} scored lower than {protocol.reference} beyond chance, by less than the margin "
                f"({_p(analysis)}, two-sided interval {limits_text}): non-inferior is not equal."
                if d["claimed"]
                else f"{protocol.new} scored lower than {protocol.reference} beyond chance ({_p(analysis)}, "
                f"two-sided interval {limits_text})."
            )
        else:
            lead = (
                "Non-inferior does not mean better or equal:" if d["claimed"] else "Not shown does not mean inferior;"
            )
            lines.append(f"{lead} superiority, a different test, was not shown ({_p(analysis)}).")
    rule = protocol.adjudication
    if rule is not None and primary_item(analysis).id in rule.items:
        lines.append(
            f"Where readers differed by {rule.difference} points or more, the score of a third reader, "
            f"{rule.reader}, decided: the claim is about that verdict, not about one reader's."
        )
    truth, marks = protocol.truth, LOCALISATION.of(analysis.primary)
    if marks is not None and protocol.localisation is not None:
        lines.append(
            f"Localisation of {marks.condition} against the reference standard "
            f"({protocol.localisation.standard.rstrip('.')}): {marks.lesions} lesions in {marks.diseased} cases, and "
            f"{marks.not_diseased} cases without; another mix of patients, another standard or another rule of "
            "acceptance may have another area; nothing here measures patient outcome."
        )
    elif truth is None or not primary_item(analysis).confidence:
        lines.append(
            "Scores are opinions about image quality; nothing here measures diagnostic accuracy or patient outcome."
        )
    else:
        lines.append(
            f"Accuracy for {truth.condition} against the reference standard ({truth.standard.rstrip('.')}) in cases of "
            f"which {len(truth.diseased)} have it and {len(truth.not_diseased)} do not: another mix of patients, or "
            "another standard, may have another area; nothing here measures patient outcome."
        )
    return lines


def _adjusted(decision: Mapping[str, Any]) -> str:
    """The adjusted p value where several comparisons share the error rate: it decides."""
    return f", adjusted {p_text(decision['p_adjusted'])}" if "p_adjusted" in decision else ""


def _p(analysis: Analysis) -> str:
    return f"two-sided {p_text(analysis.primary.planned.p_difference)}"

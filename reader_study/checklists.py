"""CLAIM 2024 and GRRAS: what this study can answer is filled in, the rest is named as the authors' task.

Item numbers follow CLAIM 2024 (Tejani et al., Radiology: Artificial Intelligence 2024) and GRRAS (Kottner et al.,
J Clin Epidemiol 2011); the wording here is our own short form.
"""

from collections.abc import Callable, Sequence
from typing import Any

from reader_study.analyses.drift import DRIFT
from reader_study.analyses.localisation import LOCALISATION
from reader_study.analyses.missing import MISSING
from reader_study.analyses.ordinal import ORDINAL
from reader_study.analyses.reliability import RELIABILITY
from reader_study.analyses.roc import ROC
from reader_study.analyses.signed_rank import SIGNED_RANK
from reader_study.analyses.statistic import Statistic
from reader_study.analysis_result import Analysis
from reader_study.claim import claim, digits, points, primary_item, readers_counted
from reader_study.conduct import Conduct
from reader_study.provenance import Provenance
from reader_study.sequences import described
from reader_study.wording import number

AUTHORS = "Authors: to be written."
_PLANNED = "Authors: how the size was planned ('recon reader-study power' simulates the frozen analysis)."
_OTHERS: tuple[tuple[Statistic[Any], str], ...] = (
    (ORDINAL, "ordinal mixed model"),
    (SIGNED_RANK, "signed-rank test"),
    (MISSING, "missing-data sensitivity"),
    (DRIFT, "reading-order drift"),
)


def _design(analysis: Analysis, known: Conduct) -> str:
    protocol = analysis.protocol
    sessions = protocol.sessions
    size = protocol.readers_per_case
    subsets = "" if size is None else f"; each case by {size} of {len(protocol.readers)} readers"
    shown = {
        "independent": "one image at a time",
        "side-by-side": "both images side by side, sides A/B balanced",
        "preference": "both images side by side, sides A/B balanced, answered by preference",
    }[protocol.mode]
    if protocol.sequences:
        shown += f", of {described(protocol.sequences)}"
    if sessions.count == 1:
        return f"{shown}; 1 session{subsets}"
    gap = known.shortest_washout
    happened = "the times of the sessions are not known" if gap is None else f"shortest by the sheets {gap:.1f} weeks"
    return f"{shown}; {sessions.count} sessions, planned {sessions.washout_weeks:g} weeks apart, {happened}{subsets}"


def _blinding(provenance: Provenance) -> str:
    if not provenance.sealed:
        return "the arm came with the scores. Authors: how readers were blinded and orders chosen."
    key = "by the log key sealed until the scores were in"
    if not provenance.conduct.sealed_until_complete:
        key = "scores were missing, changed or added when the key was opened (see Provenance)"
    return f"arm and identity hidden in the packages, {key}; orders drawn balanced for each reader."


def _repeats(analysis: Analysis) -> str:
    whose = "by every reader" if analysis.protocol.readers_per_case is None else "by every reader, of his own"
    return f"{analysis.protocol.repeats} cases planned to be read twice {whose}"


def _statistics(analysis: Analysis) -> str:
    d = analysis.decision
    margin = number(d["margin"], digits(primary_item(analysis)))
    limits = f"margin {margin} {points(analysis)}, alpha {d['alpha']:g} one-sided"
    return f"{d['method']}; {limits}, stated in the protocol"


def _readers(analysis: Analysis) -> str:
    known = {reader.id: reader.experience for reader in analysis.protocol.readers}
    named = [f"{name}: {known.get(name, 'added after the export, see there')}" for name in analysis.readers]
    rule = analysis.protocol.adjudication
    return "; ".join([*named, *([f"{rule.reader}, who adjudicates: {rule.experience}"] if rule is not None else [])])


def _counted(analysis: Analysis) -> str:
    counted = f"{readers_counted(analysis)} reader{'s' * (len(analysis.readers) != 1)}"
    return counted if analysis.compared == len(analysis.readers) else f"{counted} (the others have no pair of readings)"


def _robustness(parts: Sequence[Analysis]) -> str:
    """The other analyses of the primary item that were made."""
    made = {"Random readers": any(part.primary.random is not None for part in parts)}
    for statistic, words in _OTHERS:
        made[words] = any(statistic.of(part.primary) for part in parts)
    return "; ".join(words for words, there in made.items() if there) + "." if any(made.values()) else AUTHORS


def _cases(analysis: Analysis) -> str:
    cohorts = ", ".join(f"{name} {len(cases)}" for name, cases in analysis.protocol.cases.items())
    return f"{len(analysis.protocol.case_ids)} cases ({cohorts})"


def _missing(analysis: Analysis) -> str:
    accuracy = ROC.of(analysis.primary)
    if accuracy is not None:
        return f"{accuracy.missing or 'no'} ratings of the primary item are missing; every pair of readings analysed"
    marked = LOCALISATION.of(analysis.primary)
    if marked is not None:
        return f"{marked.missing or 'no'} readings of the primary item are missing; every pair of readings analysed"
    found = MISSING.of(analysis.primary)
    if found is None or not found.missing_scores:
        return "no score of the primary item is missing"
    return (
        f"{found.missing_scores} scores of the primary item missing in {found.incomplete_cases} cases; every pair "
        "of readings analysed, worst and best case, multiple imputation and tipping point reported"
    )


def _pairs(analysis: Analysis) -> str:
    return f"{analysis.decision['cases']} cases with a pair of readings"


def _complete(analysis: Analysis) -> str:
    return f"{analysis.decision['cases']} complete in the primary analysis"


def _of_each(analysis: Analysis, parts: Sequence[Analysis], say: Callable[[Analysis], str]) -> str:
    """What ``say`` says of the analysis, or by name of each comparison."""
    return "; ".join(f"{part.protocol.new}: {say(part)}" for part in parts) or say(analysis)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def grras(analysis: Analysis, provenance: Provenance, parts: Sequence[Analysis] = ()) -> list[tuple[str, str, str]]:
    """(number, item, what this study says) for GRRAS; ``parts``: the comparisons, where there are several."""
    protocol, sealed = analysis.protocol, provenance.sealed
    agreement, none = analysis.has(RELIABILITY.name), "Agreement was not computed; see section Reliability."
    arms = " and ".join(f"{arm.name} ({arm.description})" for arm in protocol.arms)
    return [
        ("1", "Title or abstract names reliability or agreement", AUTHORS),
        ("2", "Device or measurement", f"{len(protocol.items)} items scored on images of {arms}"),
        ("3", "Population of subjects", f"{_cases(analysis)}. Authors: say which patients they stand for."),
        ("4", "Population of raters", f"{_readers(analysis)}. Authors: say whom they stand for."),
        ("5", "What is known, and why this study", f"Question: {protocol.question} Authors: background."),
        ("6", "Sample size, raters, subjects, repeats", f"{_cases(analysis)}, {_counted(analysis)}, "
         f"{_repeats(analysis)}. {_PLANNED}"),
        ("7", "How subjects and raters were sampled", AUTHORS),
        ("8", "Rating process, intervals, blinding", f"{_design(analysis, provenance.conduct)}; "
         f"{_blinding(provenance)}"),
        ("9", "Were ratings independent", "Every reader had an own package with an own order." if sealed else AUTHORS),
        ("10", "Statistical analysis", "Weighted kappa, Fleiss' kappa, Gwet's AC1 and AC2, Krippendorff's alpha, "
         + ("all six" if protocol.readers_per_case is None else "one-way")
         + " intraclass correlations; see Methods." if agreement else none),
        ("11", "Raters, subjects and repeats that were included", f"{_counted(analysis)}, "
         f"{_of_each(analysis, parts, _pairs)}; {_of_each(analysis, parts, _missing)}."),
        ("12", "Characteristics of raters and subjects", f"{_readers(analysis)}. Authors: patients' characteristics."),
        ("13", "Estimates with their uncertainty",
         "Section Reliability, with standard errors and intervals." if agreement else none),
        ("14", "Practical relevance", AUTHORS),
        ("15", "Detailed results", "scores.csv and analysis.json beside this report."),
    ]  # fmt: skip


def claim_2024(
    analysis: Analysis, provenance: Provenance, parts: Sequence[Analysis] = ()
) -> list[tuple[str, str, str]]:
    """(number, item, what this study says) for CLAIM 2024; ``parts``: the comparisons, where there are several."""
    protocol, sealed = analysis.protocol, provenance.sealed
    new = "; ".join(f"{arm.name} ({arm.description})" for arm in protocol.arms if arm.role == "new")
    rated, marks = primary_item(analysis).confidence, protocol.localisation
    reference = next(arm for arm in protocol.arms if arm.role == "reference")
    filled = {
        4: f"{protocol.question} Primary hypothesis: {protocol.primary.hypothesis} on '{protocol.primary.item}'.",
        5: "Readings: frozen before the packages were made. Authors: imaging data." if sealed else AUTHORS,
        6: f"Reader study of {'diagnostic accuracy' if rated else 'image quality'}, {protocol.primary.hypothesis}.",
        7: f"{_cases(analysis)}. Authors: sources and dates.",
        9: "One writer for both arms: same matrix, spacing, depth and grey scale." if sealed else AUTHORS,
        11: "Images written anew with a whitelist of attributes and random identifiers." if sealed else AUTHORS,
        12: f"{_capital(_of_each(analysis, parts, _missing))}.",
        14: f"Reference arm: {reference.name} ({reference.description})."
        + (f" Truth of {protocol.truth.condition}: {protocol.truth.standard}." if protocol.truth else "")
        + (f" Lesions ({marks.condition}): {marks.standard}." if marks else ""),
        15: f"Margin {protocol.primary.margin:g}: {protocol.primary.margin_justification}",
        16: f"Scores by {_counted(analysis)}. {_readers(analysis)}.",
        17: f"Anchored scales; {_design(analysis, provenance.conduct)}.",
        18: ("Section Reliability: between readers" if analysis.has(RELIABILITY.name) else "Between readers: not known")
        + (f"; within readers on {_repeats(analysis)}." if protocol.repeats else "; no repeats were planned."),
        21: f"{_cases(analysis)}. {_PLANNED}",
        22: f"New arm: {new}. Authors: the model.",
        28: f"Items: {', '.join(item.id for item in protocol.items)}; mean difference new minus reference"
        + (" (of ratings of confidence and of marks: of an area under a curve)." if protocol.truth or marks else "."),
        29: f"{_statistics(analysis)}. Multiplicity: {analysis.multiplicity}.",
        30: _robustness(parts or (analysis,)),
        35: f"{len(protocol.case_ids)} cases planned, {_of_each(analysis, parts, _complete)}.",
        37: " ".join(claim(part) for part in parts or (analysis,)),
        38: "Every estimate stands with its interval; see Results.",
        39: "Flagged hallucinations and artifacts by arm; comments in scores.csv.",
        40: "Limits stand under the claim. Authors: further limits.",
        42: f"Frozen protocol, SHA-256 {protocol.hash}.",
        43: "recon (Apache-2.0). Authors: availability of the data.",
    }  # fmt: skip
    return [(str(number), text, filled.get(number, AUTHORS)) for number, text in enumerate(_CLAIM, start=1)]


_CLAIM = (
    "Title says that AI is used and which kind",
    "Structured abstract",
    "Background and intended clinical role",
    "Aims and hypotheses",
    "Prospective or retrospective",
    "Goal of the study",
    "Data sources",
    "Inclusion and exclusion",
    "Preprocessing",
    "Selection of subsets of the data",
    "De-identification",
    "Missing data",
    "Imaging protocol",
    "Definition of the reference standard",
    "Why this reference standard",
    "Who annotated",
    "How was annotated",
    "Variability within and between annotators",
    "Partitions of the data",
    "Level at which partitions are disjoint",
    "Sample size",
    "Model",
    "Software and hardware",
    "Initial parameters",
    "Training",
    "Choice of the final model",
    "Ensembles",
    "Measures of performance",
    "Significance and uncertainty",
    "Robustness",
    "Explainability",
    "Evaluation on internal data",
    "Evaluation on external data",
    "Registration",
    "Flow of cases",
    "Characteristics of the cases",
    "Performance of the model",
    "Precision of the estimates",
    "Failures",
    "Limitations",
    "Implications for practice",
    "Access to the full protocol",
    "Access to software and data",
    "Funding",
)

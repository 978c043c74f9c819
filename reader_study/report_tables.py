"""The report's tables, each from the analysis alone."""

from reader_study.analysis import Analysis
from reader_study.claim import number, p_text
from reader_study.document import Table
from reader_study.statistics.non_inferiority import PairedComparison


def _interval(low: float | None, high: float | None, digits: int = 2) -> str:
    return f"{number(low, digits)} to {number(high, digits)}"


def _brackets(low: float, high: float) -> str:
    return f"({number(low)}, {number(high)})"


def _p(value: float) -> str:
    return p_text(value).removeprefix("p ").removeprefix("= ")


def _verdict(shown: bool) -> str:
    return "yes" if shown else "not shown"


def item_table(analysis: Analysis) -> Table:
    """Every item by the planned method: difference, interval, both tests named apart."""
    adjusted = {entry.name: entry for entry in analysis.adjusted}
    rows = []
    for item in analysis.items:
        planned = item.planned
        row = [
            item.item + (" (primary)" if item.primary else ""),
            str(item.fixed.cases),
            number(planned.estimate),
            _interval(planned.low, planned.high),
            _p(planned.p_one_sided),
            _p(planned.p_difference),
        ]
        if analysis.adjusted:
            row.append(_p(adjusted[item.item].p_adjusted) if item.item in adjusted else "–")
        rows.append(tuple(row))
    test = one_sided_test(analysis)
    header = ["item", "cases", "difference", "interval", f"p, {test} (one-sided)", "p, difference (two-sided)"]
    if analysis.adjusted:
        header.append("p, Holm")
    method = analysis.decision["method"]
    caption = f"{method[0].upper()}{method[1:]}. The two p values belong to two different tests."
    if len(analysis.items) > 1 and analysis.decision["margin"] > 0:
        caption += " The margin was justified for the primary item; on the others it is applied for orientation."
    return Table(tuple(header), tuple(rows), caption)


def one_sided_test(analysis: Analysis) -> str:
    """What the one-sided test shows: "non-inferiority", or "superiority" where the margin is zero."""
    return "non-inferiority" if analysis.decision["margin"] > 0 else "superiority"


def descriptive_table(analysis: Analysis) -> Table:
    """Mean and median of every item and arm."""
    rows = []
    for item in analysis.items:
        for row in item.descriptive:
            if row.reader == "all":
                counts = " · ".join(str(count) for count in row.counts.values())
                best = {"higher-is-better": "highest", "lower-is-better": "lowest"}.get(item.direction, "new arm, +1")
                rows.append((item.item, row.arm, best, number(row.mean), number(row.median, 1), counts))
    return Table(
        ("item", "arm", "best score", "mean", "median", "readings at each score, lowest first"),
        tuple(rows),
        text_columns=3,
    )


def reader_table(analysis: Analysis) -> Table:
    """The primary item by reader and by cohort."""

    def line(name: str, found: PairedComparison) -> tuple[str, ...]:
        return (
            name,
            str(found.cases),
            number(found.estimate),
            _interval(found.low, found.high),
            number(found.standard_deviation),
            _verdict(found.lower_bound > -found.margin),
        )

    primary = analysis.primary
    rows = [line(f"reader {name}", found) for name, found in primary.by_reader.items()]
    rows += [line(f"cohort {name}", found) for name, found in primary.by_cohort.items()]
    rows.append(line("all", primary.fixed))
    return Table(
        ("", "cases", "difference", "interval", "SD of differences", "bound above margin"),
        tuple(rows),
        f"Item {primary.item}. Descriptive: a part of the study where the bound fails is no contradiction.",
    )


def sensitivity_table(analysis: Analysis) -> Table:
    """The primary item under other analyses."""
    primary, d = analysis.primary, analysis.decision
    fixed, rank = primary.fixed, primary.wilcoxon
    mark = {True: " (primary)", False: ""}
    rows = [
        (
            f"Per-case means, these readers{mark[d['readers'] == 'fixed']}",
            number(fixed.estimate),
            _interval(fixed.low, fixed.high),
            f"t({number(fixed.df, 0)}) = {number(fixed.t_non_inferiority)}",
            _p(fixed.p_non_inferiority),
        )
    ]
    if primary.random is not None:
        test = primary.random.non_inferiority
        upper = 2 * test.estimate - test.lower_bound
        rows.append(
            (
                f"Obuchowski-Rockette, readers in general{mark[d['readers'] == 'random']}",
                number(test.estimate),
                _interval(test.lower_bound, upper),
                f"t({number(test.df, 1)}) = {number(test.t)}",
                _p(test.p_one_sided),
            )
        )
    rows.append(
        (
            "Wilcoxon signed rank, Hodges-Lehmann",
            number(rank.estimate),
            _interval(rank.low, rank.high),
            "signed ranks",
            _p(rank.p_non_inferiority),
        )
    )
    if primary.ordinal is not None:
        found = primary.ordinal
        rows.append(
            (
                "Ordinal mixed model, odds ratio of a better score (against 1)",
                number(found["odds_ratio"]),
                _interval(found["low"], found["high"]),
                f"SD of cases {number(found['case_deviation'])}",
                f"{_p(found['p_value'])} (difference)",
            )
        )
    caption = f"Item {primary.item}. p is one-sided for {one_sided_test(analysis)} unless it says difference."
    return Table(("analysis", "estimate", "interval", "statistic", "p"), tuple(rows), caption)


def missing_table(analysis: Analysis) -> Table:
    """Missing-data sensitivity of the primary item."""
    found = analysis.primary.missing
    names = (analysis.protocol.reference, analysis.protocol.new)
    rows = []
    fixed = analysis.primary.fixed
    rows.append(("Complete cases", number(fixed.estimate), number(fixed.lower_bound), _verdict(fixed.non_inferior)))
    for name, case in (("Worst case for the new arm", found.worst), ("Best case for the new arm", found.best)):
        if case is not None:
            rows.append((name, number(case.estimate), number(case.lower_bound), _verdict(case.non_inferior)))
    if found.imputed is not None:
        imputed = found.imputed
        label = f"Multiple imputation ({imputed.imputations})"
        rows.append((label, number(imputed.estimate), number(imputed.lower_bound), _verdict(imputed.non_inferior)))
        if found.tipping_shift is not None:
            label = (
                f"Tipping point: {number(found.tipping_shift)} points off each imputed difference take the claim away"
            )
        elif imputed.non_inferior:
            label = "Tipping point: no penalty within the scale takes the claim away"
        else:
            label = "Tipping point: no claim to lose"
        rows.append((label, "", "", ""))
    caption = f"Item {analysis.primary.item}, these readers. "
    if found.missing_scores:
        by_arm = ", ".join(f"{name} {count}" for name, count in zip(names, found.missing_by_arm, strict=True))
        caption += f"Missing: {found.missing_scores} scores ({by_arm}) in {found.incomplete_cases} cases."
    else:
        caption += "No score is missing."
    return Table(("", "difference", "lower bound", "claim"), tuple(rows), caption)


def preference_table(analysis: Analysis) -> Table:
    """Cases in which the new arm did better, worse or the same, for the primary item by reader and all items."""
    protocol = analysis.protocol
    rows = []
    for item in analysis.items:
        for name, found in item.higher_scored.items():
            if name != "all" and not item.primary:
                continue
            rows.append(
                (
                    item.item,
                    "per-case mean" if name == "all" else name,
                    str(found.prefer_new),
                    str(found.ties),
                    str(found.prefer_reference),
                    number(found.net),
                    _interval(found.low, found.high),
                    _p(found.p_sign_test),
                )
            )
    header = ("item", "reader", f"{protocol.new} higher", "tie", f"{protocol.reference} higher", "net", "95 %", "p")
    verb = "preferred" if protocol.mode == "preference" else "scored higher"
    return Table(header, tuple(rows), f"Cases {verb}; net is the difference of the shares.", text_columns=2)


def interchangeability_table(analysis: Analysis) -> Table:
    """Added disagreement when one reader reads the new image."""
    rows = []
    for item in analysis.items:
        for label, found in (("exact", item.interchangeability), ("±1 point", item.interchangeability_one_point)):
            if found is not None:
                rows.append(
                    (
                        item.item,
                        label,
                        number(100 * found.disagree_reference_reference, 1),
                        number(100 * found.disagree_new_reference, 1),
                        number(100 * found.difference, 1),
                        _interval(100 * found.low, 100 * found.high, 1),
                    )
                )
    header = ("item", "agreement", "both on reference", "one on new", "added", "95 %")
    return Table(header, tuple(rows), "Disagreement between two readers in per cent of cases.", text_columns=2)


def agreement_table(analysis: Analysis) -> Table:
    """Reliability coefficients of every item and arm."""
    rows = []
    for item in analysis.items:
        for arm, found in item.reliability.items():
            kappas = [kappa for kappa in found.pairs.values()]
            mean_kappa = sum(kappa.kappa for kappa in kappas) / len(kappas) if kappas else float("nan")
            text = number(mean_kappa)
            if len(kappas) == 1:
                text += f" {_brackets(kappas[0].low, kappas[0].high)}"
            icc = found.intraclass["ICC(2,1)"]
            rows.append(
                (
                    item.item,
                    arm,
                    text,
                    number(found.fleiss_kappa),
                    f"{number(found.ac1.coefficient)} ({number(found.ac1.standard_error)})",
                    f"{number(found.ac2.coefficient)} ({number(found.ac2.standard_error)})",
                    number(found.krippendorff_alpha),
                    f"{number(icc.coefficient)} {_brackets(icc.low, icc.high)}",
                )
            )
    header = ("item", "arm", "weighted kappa", "Fleiss", "AC1 (SE)", "AC2 (SE)", "alpha", "ICC(2,1)")
    caption = (
        "Between readers. Kappa falls when nearly all images get one score, even if the readers agree; AC1 and AC2 do "
        "not. With more than two readers kappa is the mean over the pairs. All six ICCs stand in analysis.json."
    )
    return Table(header, tuple(rows), caption, text_columns=2)


def repeatability_table(analysis: Analysis) -> Table:
    """Agreement of each reader with herself."""
    rows = []
    for item in analysis.items:
        for name, found in item.repeatability.items():
            rows.append(
                (
                    item.item,
                    name,
                    str(found.pairs),
                    number(100 * found.exact_agreement, 0),
                    number(100 * found.within_one_point, 0),
                    number(found.mean_change),
                    number(found.within_deviation),
                    number(found.kappa),
                )
            )
    header = (
        "item",
        "reader, arm",
        "repeats",
        "same score, %",
        "±1 point, %",
        "mean change",
        "within SD",
        "weighted kappa",
    )
    return Table(header, tuple(rows), "First against second reading of the same image.", text_columns=2)


def drift_table(analysis: Analysis) -> Table:
    """Change of the primary score over the reading, by reader."""
    rows = [
        (
            name,
            str(found.presentations),
            number(found.slope),
            _interval(found.slope_low, found.slope_high),
            _p(found.slope_p),
            number(found.interaction),
            _p(found.interaction_p),
        )
        for name, found in analysis.primary.drift.items()
    ]
    header = ("reader", "readings", "change, first to last", "95 %", "p", "extra change of new arm", "p")
    return Table(header, tuple(rows), f"Item {analysis.primary.item}, points over the whole reading.")


def blinding_table(analysis: Analysis) -> Table:
    """Bang's index of every reader and arm."""
    rows = [
        (name, str(found.guesses), number(found.index), _interval(found.low, found.high), _p(found.p_one_sided))
        for name, found in analysis.blinding.items()
    ]
    caption = (
        "Bang's blinding index: 0 is guessing, 1 all arms recognised, −1 all mistaken; p is one-sided for above 0."
    )
    return Table(("reader, arm", "guesses", "index", "95 %", "p"), tuple(rows), caption)


def flag_table(analysis: Analysis) -> Table:
    """Cases with a flag in each arm."""
    protocol = analysis.protocol
    rows = tuple(
        (flag.kind, str(flag.reference), str(flag.new), str(flag.only_reference), str(flag.only_new), _p(flag.p_value))
        for flag in analysis.flags
    )
    header = ("flag", protocol.reference, protocol.new, f"only {protocol.reference}", f"only {protocol.new}", "p")
    return Table(header, rows, "Cases that at least one reader flagged; p by the exact McNemar test.")

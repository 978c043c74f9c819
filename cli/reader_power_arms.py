"""``recon reader-study power`` for three and more arms: call, and say in lines."""

import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from cli.progress import INTERVAL, Progress
from reader_study.power_options import AreaAssumptions, Assumptions


def power_of_arms(
    protocol: Any,
    assumptions: tuple[Assumptions, AreaAssumptions],
    effects: Sequence[float],
    cases: Sequence[int],
    replicates: int,
    seed: int,
) -> tuple[dict[str, Any], list[str]]:
    """(result, lines) of the planned family of comparisons; ``effects``: none, one for all new arms, or one for each.

    Raises ReconError for another number of effects.
    """
    import numpy as np

    from reader_study.power import design_of
    from reader_study.power_arms import scenarios, simulate_family
    from recon.errors import ReconError

    started = time.perf_counter()
    names, primary = protocol.compared, protocol.primary
    given = list(effects) or [0.0 if primary.margin else 0.3]
    if len(given) not in (1, len(names)):
        raise ReconError(f"--effect: give one for all new arms, or {len(names)}, one for each ({', '.join(names)})")
    wanted = tuple(given) if len(given) > 1 else tuple(given) * len(names)
    runs = [(count, row) for count in (cases or [len(protocol.case_ids)]) for row in scenarios(protocol, wanted)]
    rows = []
    with Progress(quiet=INTERVAL) as progress:
        for index, (count, row) in enumerate(runs):
            generator = np.random.default_rng([seed, count, zlib.crc32(repr(row).encode())])

            def report(stage: str, done: float, before: int = index) -> None:
                progress.show(stage, (before + done) / len(runs))

            design = design_of(protocol, count)
            rows.append(simulate_family(protocol, design, assumptions, row, replicates, generator, report))
    result = {
        "hypothesis": primary.hypothesis,
        "readers": primary.readers,
        "number_of_readers": len(protocol.planned_readers),
        "margin": primary.margin,
        "alpha": primary.alpha,
        "procedure": protocol.comparisons.procedure,
        **({} if protocol.readers_per_case is None else {"readers_per_case": protocol.readers_per_case}),
        "arms": list(names),
        "assumptions": assumed(protocol, assumptions),
        **figure_of(protocol),
        "seed": seed,
        "replicates": replicates,
        "rows": [vars(row) for row in rows],
        "seconds": round(time.perf_counter() - started, 2),
    }
    return result, _lines(protocol, rows, replicates)


def _lines(protocol: Any, rows: Sequence[Any], replicates: int) -> list[str]:
    primary, names = protocol.primary, protocol.compared
    decimals = 3 if figure_of(protocol) else 2
    subsets = "" if protocol.readers_per_case is None else f", {protocol.readers_per_case} for each case"
    width = max(10, *(len(name) for name in names))
    lines = [
        f"{primary.hypothesis} on '{primary.item}' of {len(names)} arms against {protocol.reference}, margin "
        f"{primary.margin:g}, alpha {primary.alpha:g} one-sided together ({protocol.comparisons.procedure}), "
        f"{len(protocol.planned_readers)} {primary.readers} readers{subsets}, {replicates} simulated studies a line",
        " ".join([f"{'cases':>6}", *(f"{name:>{width}}" for name in names), *(f"{'claimed':>{width}}" for _ in names)])
        + f" {'any':>7} {'all':>7} {'false':>7} {'+-':>6}",
    ]
    for row in rows:
        cells = [f"{row.cases:>6}", *(f"{effect:>+{width}.{decimals}f}" for effect in row.effects)]
        cells += [f"{share:>{width}.3f}" for share in row.claimed]
        lines.append(
            " ".join(cells) + f" {row.any_claimed:>7.3f} {row.all_claimed:>7.3f} {row.false_claim:>7.3f} "
            f"{row.monte_carlo_error:>6.3f}"
        )
    lines.append("left: true differences; false: a claim for an arm that is worse by the margin (familywise error)")
    return [*lines, *remarks(protocol)]


def figure_of(protocol: Any) -> dict[str, str]:
    """What is compared where that is an area."""
    from reader_study.comparison import Comparison

    curve = Comparison(protocol, protocol.item(protocol.primary.item), ()).curve
    return {"figure": f"area under the {curve}"} if curve else {}


def assumed(protocol: Any, assumptions: tuple[Assumptions, AreaAssumptions]) -> dict[str, Any]:
    """The assumptions that count."""
    scores, areas = assumptions
    if not figure_of(protocol):
        return vars(scores)
    kept = {name: value for name, value in vars(scores).items() if name != "reference_mean"}
    marks = protocol.located(protocol.item(protocol.primary.item))
    return kept | {name: value for name, value in vars(areas).items() if marks or name == "reference_area"}


def refuse_idle(protocol: Any, given: Mapping[str, Any]) -> None:
    """Raises ReconError for an assumption that the planned comparison has no use for."""
    from recon.errors import ReconError

    used = assumed(protocol, (Assumptions(), AreaAssumptions()))
    for name in given:
        if name not in used:
            compared = figure_of(protocol).get("figure", "scores")
            raise ReconError(
                f"--{name.replace('_', '-')} is no assumption of this design: its arms are compared by "
                + (f"the {compared}" if compared != "scores" else "scores")
            )


def remarks(protocol: Any) -> list[str]:
    """How sequences and adjudication are simulated."""
    lines, rule = [], protocol.adjudication
    if protocol.sequences:
        lines.append("several sequences: a presentation has one answer to a question, so the analysis is the same")
    if rule is not None and protocol.primary.item in rule.items:
        lines.append(
            f"adjudicated where readers are {rule.difference} points or more apart; true differences are those of the "
            "scores that are analysed"
        )
    return lines

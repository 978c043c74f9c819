"""``recon reader-study power`` and ``analyze``: parse, call, print."""

import time
import zlib
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.flags import AsJson, Columns, ExpectHead, Sheets
from cli.options import Given, with_options
from cli.output import emit, note
from cli.progress import INTERVAL, Progress
from reader_study.power_options import AreaAssumptions, Assumptions


def register(study: typer.Typer) -> None:
    """Add the two commands to the ``reader-study`` group."""
    study.command("power")(power)
    study.command("analyze")(analyze)


@with_options(Assumptions, AreaAssumptions)
def power(
    protocol: Annotated[Path, typer.Argument(metavar="STUDY", help="Protocol (YAML) or study folder.")],
    given: Given,
    effect: Annotated[
        list[float] | None,
        typer.Option(
            metavar="DIFFERENCE",
            help="True difference new - reference, in score points or area; repeat for several. Default 0.",
        ),
    ] = None,
    cases: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Number of cases; repeat for several. Default: the protocol's."),
    ] = None,
    replicates: Annotated[int, typer.Option(min=100, metavar="N", help="Simulated studies for each line.")] = 5000,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the simulation.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Type I error and power of the planned analysis, by simulation and by formula, before anyone reads.

    Scores are rounded to the planned scale. The type I error is the share of claims where the new arm is worse by
    exactly the margin. Standard deviations are those of one cell; take them from a pilot. Where arms are compared by
    areas under a curve, ratings (and marks) are drawn whose expected areas differ by exactly the effect, and the
    standard deviations are those of a latent rating. Of three and more arms the
    --effect holds for every new arm, or give as many as there are, in the protocol's order.
    """
    import numpy as np

    from cli.reader_power_arms import assumed, figure_of, power_of_arms, refuse_idle, remarks
    from reader_study.power import design_of, simulate
    from reader_study.power_areas import simulate_areas

    started = time.perf_counter()
    planned = _protocol(protocol)
    refuse_idle(planned, given)
    assumptions = Assumptions(**given.of(Assumptions)), AreaAssumptions(**given.of(AreaAssumptions))
    if planned.comparisons is not None:
        result, lines = power_of_arms(planned, assumptions, effect or [], cases or [], replicates, seed)
        emit(result, lines, as_json)
        return
    default = 0.0 if planned.primary.margin else 0.05 if figure_of(planned) else 0.3
    runs = [
        (count, difference)
        for count in (cases or [len(planned.case_ids)])
        for difference in (-planned.primary.margin, *(effect or [default]))
    ]
    rows: list[Any] = []
    with Progress(quiet=INTERVAL) as progress:
        for index, (count, difference) in enumerate(runs):
            # One stream for each line, whatever other lines were asked for.
            generator = np.random.default_rng([seed, count, zlib.crc32(repr(difference).encode())])

            def report(stage: str, done: float, before: int = index) -> None:
                progress.show(stage, (before + done) / len(runs))

            one = design_of(planned, count)
            if figure_of(planned):
                rows.append(simulate_areas(planned, one, assumptions, difference, replicates, generator, report))
            else:
                rows.append(simulate(one, assumptions[0], difference, replicates, generator, report))
    design = design_of(planned)
    result = {
        **figure_of(planned),
        "hypothesis": planned.primary.hypothesis,
        "readers": planned.primary.readers,
        "number_of_readers": design.readers,
        **({} if design.readers_per_case is None else {"readers_per_case": design.readers_per_case}),
        "margin": design.margin,
        "alpha": design.alpha,
        "assumptions": assumed(planned, assumptions),
        **({} if design.adjudicated is None else {"adjudicated_difference": design.adjudicated}),
        "seed": seed,
        "replicates": replicates,
        "rows": [
            {**vars(row), "type_1_error" if row.effect == -design.margin else "power": row.claimed} for row in rows
        ],
        "seconds": round(time.perf_counter() - started, 2),
    }
    show = _area_lines if figure_of(planned) else _power_lines
    emit(result, [*show(planned, rows, replicates), *remarks(planned)], as_json)


def _area_lines(planned: Any, rows: list[Any], replicates: int) -> list[str]:
    from cli.reader_power_arms import figure_of

    primary, size = planned.primary, planned.readers_per_case
    subsets = "" if size is None else f", {size} for each case"
    lines = [
        f"{primary.hypothesis} on '{primary.item}', {figure_of(planned)['figure']}, margin {primary.margin:g}, alpha "
        f"{primary.alpha:g} one-sided, {len(planned.planned_readers)} {primary.readers} readers{subsets}, {replicates} "
        "simulated studies a line",
        f"{'cases':>6} {'with':>5} {'true difference':>16} {'claimed':>9} {'+-':>6} {'covered':>8}",
    ]
    for row in rows:
        kind = "type I error" if row.effect == -primary.margin else "power"
        lines.append(
            f"{row.cases:>6} {row.diseased:>5} {row.effect:>+16.3f} {row.claimed:>9.3f} {row.monte_carlo_error:>6.3f} "
            f"{row.covered:>8.3f}   {kind}"
        )
    lines.append("with: cases of the condition; covered: intervals that hold the true difference")
    return lines


def _power_lines(planned: Any, rows: list[Any], replicates: int) -> list[str]:
    primary, size = planned.primary, planned.readers_per_case
    subsets = "" if size is None else f", {size} for each case"
    lines = [
        f"{primary.hypothesis} on '{primary.item}', margin {primary.margin:g}, alpha {primary.alpha:g} one-sided, "
        f"{len(planned.planned_readers)} {primary.readers} readers{subsets}, {replicates} simulated studies a line",
        f"{'cases':>6} {'true difference':>16} {'claimed':>9} {'+-':>6} {'formula':>8} {'random readers':>15} "
        f"{'(pooled rows)':>14}",
    ]
    for row in rows:
        random = "-" if row.random_readers is None else f"{row.random_readers:.3f}"
        kind = "type I error" if row.effect == -primary.margin else "power"
        lines.append(
            f"{row.cases:>6} {row.effect:>+16.2f} {row.claimed:>9.3f} {row.monte_carlo_error:>6.3f} "
            f"{row.analytic:>8.3f} {random:>15} {row.pooled_rows:>14.3f}   {kind}"
        )
    lines.append(
        "random readers: Obuchowski-Rockette formula, were the readers a sample; pooled rows: what an analysis"
    )
    lines.append("of reader x case rows would claim; it is refused, because its type I error is not the nominal one")
    return lines


def analyze(
    study: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY", help="Study folder; or a protocol (YAML) for tables that already tell the arm."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the report.")],
    sheets: Sheets = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Opened key, as 'unseal' writes it. Default STUDY/key.opened.json."),
    ] = None,
    columns: Columns = None,
    readers: Annotated[
        str | None,
        typer.Option(
            metavar="fixed|random", help="fixed or random; must be what the protocol froze. Pooled rows are refused."
        ),
    ] = None,
    lesions: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN", help="Pattern of the lesion masks that the export froze, 'truth/{case}.nii.gz'."
        ),
    ] = None,
    expect_head: ExpectHead = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the bootstrap and the imputations.")] = 0,
    notice: Annotated[
        str, typer.Option(metavar="LINE", help="A line above the report, e.g. 'simulated readers'.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """The planned analysis and its report (HTML, Markdown, JSON, CSV) from the score sheets and the opened key.

    Signatures, completeness and scales are checked; the sheets must be those that stood when the key was opened.
    One primary test decides; everything else is labelled as what it is.
    """
    from reader_study.analysis import analyse
    from reader_study.report_files import summary, write_report
    from reader_study.several_arms import analyse_arms
    from reader_study.statistics.non_inferiority import refuse_pooled_rows

    started = time.perf_counter()
    if readers == "pooled":
        refuse_pooled_rows()
    protocol, found, provenance = _observations(study, sheets, key, columns, notice, expect_head, lesions)
    with Progress(quiet=INTERVAL) as progress:
        run = analyse if protocol.comparisons is None else analyse_arms
        analysis: Any = run(protocol, found, seed, readers, report=progress.show)
    written = write_report(out, analysis, found, provenance)
    decided = _decided(analysis)
    head = _log(study, decided["claim"], analysis.seed, written["analysis.json"]) if study.is_dir() else None
    result = {
        **decided,
        "unsigned": list(provenance.unsigned),
        "deviations": list(provenance.deviations),
        "departures": list(provenance.departures),
        "log_head": head,
        "output": {name: str(path) for name, path in written.items() if not name.startswith("figures/")},
        "seconds": round(time.perf_counter() - started, 2),
    }
    lines = [
        *summary(analysis),
        *(f"- {text}" for text in provenance.departures),
        f"report: {written['report.html']}",
        *([f"log ends with {head}"] if head else []),
    ]
    emit(result, lines, as_json)


def _protocol(path: Path) -> Any:
    from reader_study.protocol import load_protocol
    from reader_study.study import open_study

    return open_study(path).protocol if path.is_dir() else load_protocol(path)


def _observations(
    study: Path,
    sheets: list[Path] | None,
    key: Path | None,
    columns: Path | None,
    notice: str,
    expect_head: str | None,
    lesions: str | None,
) -> tuple[Any, Any, Any]:
    """(protocol, unblinded observations, provenance) of a sealed study, or of tables that tell the arm."""
    from importlib.metadata import PackageNotFoundError, version

    from reader_study import unblinding
    from reader_study.tables import load_column_map
    from recon.errors import ReconError

    try:
        release = version("recon")
    except PackageNotFoundError:
        release = "(run from its source)"
    mapping = load_column_map(columns)
    if study.is_dir():
        found = unblinding.sealed(study, sheets, key, mapping, notice, release, expect_head, lesions)
    elif lesions is not None:
        raise ReconError(f"--lesions {lesions}: {study} is no study folder; marks come with its signed sheets")
    elif not sheets:
        raise ReconError(f"{study}: not a study folder; with a protocol alone, name the score tables with --sheets")
    else:
        found = unblinding.open_label(study, sheets, mapping, notice, release)
        note("the tables tell the arm themselves: nothing was sealed, the report says so")
    return found.protocol, found.observations, found.provenance


def _decided(analysis: Any) -> dict[str, Any]:
    """What was decided, of two arms or of a family of comparisons."""
    from reader_study.arms_report import family_claims, family_limits
    from reader_study.claim import claim, limits

    def decision(part: Any) -> dict[str, Any]:
        keys = ("hypothesis", "item", "claimed", "estimate", "lower_bound", "margin", "p_value", "alpha", "cases")
        return {name: part.decision[name] for name in keys}

    if analysis.protocol.comparisons is None:
        values = {"claim": claim(analysis), "limits": limits(analysis), **decision(analysis)}
        return {
            **values,
            "readers": len(analysis.readers),
            "readers_analysed_as": analysis.decision["readers"],
        }
    both = zip(analysis.comparisons, analysis.together, strict=True)
    rows = [
        {"new": one.name, "claim": claim(part), **decision(part), "p_adjusted": one.p_adjusted} for part, one in both
    ]
    first = analysis.comparisons[0]
    return {
        "claim": " ".join(family_claims(analysis)),
        "limits": family_limits(analysis),
        "claimed": analysis.claimed,
        "procedure": analysis.procedure,
        "comparisons": rows,
        "readers": len(first.readers),
        "readers_analysed_as": first.decision["readers"],
    }


def _log(study: Path, claimed: str, seed: int, report: Path) -> str:
    """Write the analysis into the study's log; gives its new last hash."""
    from reader_study import audit_log
    from reader_study.study import LOG
    from recon.digest import file_sha256

    digest = file_sha256(report)
    details = {"claim": claimed, "analysis_sha256": digest, "seed": seed}
    return audit_log.append(study / LOG, "analysis", details).hash

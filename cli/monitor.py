"""Commands of a watch on what is deployed: monitor fit, monitor check."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.cohort import Refused
from cli.flags import AsJson
from cli.options import Given, with_options
from cli.output import emit
from cli.progress import Progress
from recon.encode.options import EncoderChoice
from recon.monitoring.options import CheckOptions, FitOptions

if TYPE_CHECKING:
    from recon.monitoring.baseline import Baseline
    from recon.monitoring.check import Check
    from recon.monitoring.features import WatchedScan

monitor_app = typer.Typer(
    name="monitor",
    help="A watch on what is deployed: has anything changed since the baseline?",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Results = Annotated[
    list[Path], typer.Argument(metavar="RESULT", help="Results of 'recon reconstruct', or folders of them.")
]
Embed = Annotated[
    bool, typer.Option("--embed", help="Add an encoder's view of the images to the windows: slower, sees more.")
]


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.add_typer(monitor_app)


@monitor_app.command()
@with_options(FitOptions, EncoderChoice, leave_out=("random_init",))
def fit(
    results: Results,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Baseline to write (.json).")],
    given: Given,
    embed: Embed = False,
    as_json: AsJson = False,
) -> None:
    """Make a baseline of results that are taken to be as they should be, for each scanner and protocol.

    Persons are stored as hashes. At least 20 scans of 10 persons are needed in a stratum.
    """
    from recon.atomic import check_place
    from recon.configuration import load_config
    from recon.monitoring.baseline import fit_baseline, write_baseline

    check_place(out, inputs=results)
    options = load_config(FitOptions, None, given.of(FitOptions))
    choice = load_config(EncoderChoice, None, given.of(EncoderChoice))
    scans, encoder, refused = _watched(results, choice, embed)
    baseline = fit_baseline(scans, options, encoder)
    write_baseline(out, baseline)
    result = {"output": out, **_of_baseline(baseline), "refused": refused.entries}
    emit(result, [*_baseline_lines(out, baseline), *refused.lines(len(scans) + len(refused.entries))], as_json)
    refused.end()


@monitor_app.command()
@with_options(CheckOptions, EncoderChoice, leave_out=("random_init",))
def check(
    results: Results,
    baseline: Annotated[Path, typer.Option(metavar="FILE", help="Baseline of 'recon monitor fit'.")],
    given: Given,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Page with the charts to write (.html). Default: none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Whether anything changed: CUSUM charts, a permutation test of every window, and a verdict in one line.

    Give all scans since the baseline: the charts begin at 0. They are taken in the order of acquisition where all
    results of a stratum state it, else as given. Exit code 1 when something changed, 2 when scans could not be judged.
    """
    from recon.atomic import check_place
    from recon.configuration import load_config
    from recon.monitoring.baseline import read_baseline
    from recon.monitoring.check import check_scans
    from recon.monitoring.page import write_page

    check_place(out, inputs=[baseline, *results])
    options = load_config(CheckOptions, None, given.of(CheckOptions))
    choice = load_config(EncoderChoice, None, given.of(EncoderChoice))
    known = read_baseline(baseline)
    scans, encoder, refused = _watched(results, choice, known.encoder is not None)
    _same_encoder(known, encoder)
    with Progress() as progress:
        found = check_scans(scans, known, options, progress.show)
    if out is not None:
        write_page(out, found)
    result = {**_of_check(found), "refused": refused.entries, **({} if out is None else {"output": out})}
    lines = [found.verdict, *refused.lines(len(scans) + len(refused.entries))]
    emit(result, [*lines, *([] if out is None else [f"page: {out}"])], as_json)
    if found.changed:
        raise typer.Exit(1)
    refused.end()
    if found.unjudged:
        raise typer.Exit(2)


def _watched(
    results: list[Path], choice: EncoderChoice, embed: bool
) -> tuple[list["WatchedScan"], tuple[str, str] | None, Refused]:
    """Every result as a watch sees it, the encoder used, and what was refused."""
    from recon.errors import ReconError
    from recon.monitoring.features import read_watched
    from recon.quality.finding import find_results

    paths, refused = find_results(results), Refused()
    encoder = None
    if embed:
        from cli.encode_inputs import load
        from recon.monitoring.embedding import with_embedding

        encoder = load(choice)
    scans = []
    with Progress() as progress:
        for number, path in enumerate(paths):
            try:
                scan, result = read_watched(path)
                scans.append(scan if encoder is None else with_embedding(scan, result, encoder))
            except ReconError as error:
                if len(paths) == 1:
                    raise
                refused.add(path, error, progress.note)
            progress.show("reading results", (number + 1) / len(paths))
    if not scans:
        raise ReconError("none of the results could be read: see the lines above")
    return scans, None if encoder is None else (encoder.name, encoder.weights_hash), refused


def _same_encoder(baseline: "Baseline", encoder: tuple[str, str] | None) -> None:
    from recon.errors import ReconError

    if baseline.encoder is not None and encoder is not None and baseline.encoder != encoder:
        raise ReconError(
            f"the baseline was made with the encoder {baseline.encoder[0]} ({baseline.encoder[1][:12]}), not with "
            f"{encoder[0]} ({encoder[1][:12]}); give --encoder and --weights as for 'recon monitor fit'"
        )


def _of_baseline(baseline: "Baseline") -> dict[str, Any]:
    strata = [
        {
            "stratum": dict(stratum.key), "scans": len(stratum.persons), "persons": len(set(stratum.persons)),
            "figures": stratum.figures, "left_out": stratum.left_out, "limit": stratum.limit.value,
            "run_length": stratum.limit.stated, "confidence": stratum.limit.confidence,
            "run_length_quantiles": stratum.limit.run_length,
        }
        for stratum in baseline.strata
    ]  # fmt: skip
    too_few = [{"stratum": name, "scans": scans, "persons": persons} for name, scans, persons in baseline.too_few]
    return {"by": baseline.by, "encoder": baseline.encoder, "strata": strata, "too_few": too_few}


def _baseline_lines(out: Path, baseline: "Baseline") -> list[str]:
    lines = [f"{out}: baseline of {len(baseline.strata)} {'stratum' if len(baseline.strata) == 1 else 'strata'}"]
    for stratum in baseline.strata:
        limit = stratum.limit
        lines.append(
            f"{stratum.name}: {len(stratum.persons)} scans of {len(set(stratum.persons))} persons, "
            f"{len(stratum.figures)} figures, limit {limit.value:.2f}: a false alarm every {limit.stated:g} scans at "
            f"most (90 % of such baselines: every {limit.range_words})"
        )
    for name, scans, persons in baseline.too_few:
        lines.append(f"no baseline, too few: {name} ({scans} scans of {persons} persons)")
    return lines


def _of_check(found: "Check") -> dict[str, Any]:
    from dataclasses import asdict

    strata = [
        {
            "stratum": dict(entry.stratum.key), "scans": len(entry.scans), "changed": entry.changed,
            "order": "acquired_at" if entry.by_time else "given",
            "limit": entry.stratum.limit.value, "alarms": [asdict(alarm) for alarm in entry.alarms],
            "windows": [asdict(window) for window in entry.windows],
        }
        for entry in found.strata
    ]  # fmt: skip
    return {
        "changed": found.changed, "verdict": found.verdict, "level": found.level,
        "chart_false_alarm_probability": found.false_alarm_probability, "strata": strata,
        "unjudged": [{"stratum": name, "scans": count} for name, count in found.unjudged],
    }  # fmt: skip

"""Commands on probes: probe embed, fit, eval."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.encode_inputs import load
from cli.flags import AsJson
from cli.options import Given, with_options
from cli.output import emit
from cli.progress import INTERVAL, Progress
from recon.encode.options import EncoderChoice
from recon.encode.probes.options import EvaluationOptions, FitOptions
from recon.encode.probes.table import described

if TYPE_CHECKING:
    from recon.encode.probes.evaluation import GroupResult
    from recon.encode.probes.probe import Probe
    from recon.encode.probes.store import Embeddings

probe_app = typer.Typer(
    name="probe",
    help="Small classifiers on an encoder's embeddings: what does acceleration cost a diagnostic task? Exploratory.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Embedded = Annotated[Path, typer.Argument(metavar="EMBEDDINGS", help="File of 'recon probe embed'.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.add_typer(probe_app)


@probe_app.command()
@with_options(EncoderChoice)
def embed(
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS.csv",
            help="Columns file, subject, one a label (0/1); optional: case, acceleration (1 = reference), "
            "split (fit or eval), vendor, field_strength, site, study, series.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Embeddings to write (.h5).")],
    given: Given,
    as_json: AsJson = False,
) -> None:
    """Embed every volume of a table. Reconstructions are prepared with the geometry, mask and intensity map of their
    reference. Persons are stored as hashes.
    """
    from recon.atomic import check_place
    from recon.configuration import load_config
    from recon.encode.probes.labels import read_labels
    from recon.encode.probes.store import embed_table, write_embeddings

    check_place(out, inputs=[labels])
    table = read_labels(labels)
    network = load(load_config(EncoderChoice, None, given))
    with Progress(quiet=INTERVAL) as progress:
        embeddings = embed_table(network, table, progress.show)
    write_embeddings(out, embeddings)
    result = {
        "output": out,
        "encoder": network.name,
        "weights_hash": network.weights_hash,
        "volumes": len(embeddings.pooled),
        "subjects": len(set(embeddings.subjects)),
        "labels": list(table.names),
        "accelerations": sorted({float(value) for value in embeddings.accelerations}),
    }
    line = f"{out}: {result['volumes']} volumes of {result['subjects']} persons, labels {', '.join(table.names)}"
    emit(result, [line], as_json)


@probe_app.command()
@with_options(FitOptions, remarks={"probe": f"{described()}."})
def fit(
    embeddings: Embedded,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Probe to write (.safetensors).")],
    given: Given,
    as_json: AsJson = False,
) -> None:
    """Fit a probe on references. Splits are by person: those held out are for 'recon probe eval --unseen'."""
    from recon.atomic import check_place
    from recon.configuration import load_config
    from recon.encode.probes.probe import fit_probe, write_probe
    from recon.encode.probes.store import read_embeddings

    check_place(out, inputs=[embeddings])
    options = load_config(FitOptions, None, given)
    probe = fit_probe(read_embeddings(embeddings), options)
    write_probe(out, probe)
    result = {
        "output": out,
        "probe": probe.kind,
        "label": probe.label,
        "classes": probe.classes,
        "subjects": len(probe.persons),
        "dropped": options.drop,
        "encoder": probe.encoder,
        "weights_hash": probe.weights_hash,
    }
    emit(result, [f"{out}: {probe.kind} probe of '{probe.label}', fitted on {len(probe.persons)} persons"], as_json)


@probe_app.command("eval")
@with_options(EvaluationOptions)
def evaluate(
    embeddings: Embedded,
    probe: Annotated[Path, typer.Option(metavar="FILE", help="Probe of 'recon probe fit'.")],
    given: Given,
    as_json: AsJson = False,
) -> None:
    """AUC, accuracy and calibration error on persons the probe never saw, with intervals over persons.

    A person in both fit and evaluation is an error. The probabilities are the probe's, not a diagnosis.
    """
    from dataclasses import asdict

    from recon.configuration import load_config
    from recon.encode.probes.evaluation import evaluate_probe
    from recon.encode.probes.probe import read_probe
    from recon.encode.probes.store import read_embeddings

    options = load_config(EvaluationOptions, None, given)
    fitted = read_probe(probe)
    if options.leave_one_site_out or options.by not in (None, "acceleration"):
        _by_place(read_embeddings(embeddings), fitted, options, as_json)
        return
    groups = evaluate_probe(fitted, read_embeddings(embeddings), options)
    entries: list[dict[str, Any]] = [{**asdict(group), "rises_to_quarter": group.rises} for group in groups]
    result = {
        "probe": fitted.kind,
        "label": fitted.label,
        "encoder": fitted.encoder,
        "weights_hash": fitted.weights_hash,
        "bootstrap": options.repeats,
        "groups": entries,
        "exploratory": True,
    }
    emit(result, _lines(fitted.kind, fitted.label, groups), as_json)


def _by_place(embeddings: "Embeddings", probe: "Probe", options: EvaluationOptions, as_json: bool) -> None:
    """The probe's worth by vendor, field strength or site, or on each site when it was fitted on the others."""
    from dataclasses import asdict

    from recon.encode.probes.strata import evaluate_by_stratum, leave_one_out

    if options.leave_one_site_out:
        fact, how = "site", "fitted on the other sites"
        found = leave_one_out(embeddings, probe.kind, probe.label, options)
    else:
        fact, how = str(options.by), "as fitted"
        found = evaluate_by_stratum(probe, embeddings, options, fact)
    rows = [{fact: name, **({"problem": group} if isinstance(group, str) else asdict(group))} for name, group in found]
    lines = [f"{probe.kind} probe of '{probe.label}' by {fact}, {how}; intervals: 95 %, over persons"]
    lines.append(f"{fact:<16}{'persons':>8}{'cases':>6}{'AUC':>8}{'95 %':>16}{'accuracy':>10}{'95 %':>16}")
    for name, group in found:
        if isinstance(group, str):
            lines.append(f"{name:<16}not judged: {group}")
            continue
        cells = [
            f"{value.value:>{width}.3f}{f'{value.low:.3f} to {value.high:.3f}':>16}"
            for value, width in ((group.auc, 8), (group.accuracy, 10))
        ]
        lines.append(f"{name:<16}{group.persons:>8}{group.cases:>6}{''.join(cells)}")
    result = {
        "probe": probe.kind, "label": probe.label, "encoder": probe.encoder, "weights_hash": probe.weights_hash,
        "leave_one_site_out": options.leave_one_site_out, "bootstrap": options.repeats, "strata": rows,
        "exploratory": True,
    }  # fmt: skip
    emit(result, lines, as_json)


def _lines(kind: str, label: str, groups: "list[GroupResult]") -> list[str]:
    lines = [f"{kind} probe of '{label}'; intervals: 95 %, over persons"]
    lines.append(f"{'':<12}{'cases':>6}{'AUC':>8}{'95 %':>16}{'- reference':>13}{'95 %':>18}{'accuracy':>10}{'ECE':>7}")
    for group in groups:
        name = "reference" if group.acceleration == 1 else f"{group.acceleration:g}x"
        change = f"{'':>31}"
        if group.auc_difference is not None:
            difference = group.auc_difference
            change = f"{difference.value:>+13.3f}{f'{difference.low:+.3f} to {difference.high:+.3f}':>18}"
        lines.append(
            f"{name:<12}{group.cases:>6}{group.auc.value:>8.3f}{f'{group.auc.low:.3f} to {group.auc.high:.3f}':>16}"
            f"{change}{group.accuracy.value:>10.3f}{group.calibration_error.value:>7.3f}"
        )
    for group in groups:
        if group.uncertainty_difference is not None:
            risen = group.uncertainty_difference
            lines.append(
                f"{group.acceleration:g}x: uncertainty {group.uncertainty.value:.3f}, - reference {risen.value:+.3f} "
                f"({risen.low:+.3f} to {risen.high:+.3f})"
            )
    for group in groups:
        if not group.rejection:
            continue
        name = "reference" if group.acceleration == 1 else f"{group.acceleration:g}x"
        lines.append(f"{name}: AUC when the most uncertain are rejected")
        for point in group.rejection:
            lines.append(
                f"  {point.rate:>5.0%}  {point.kept:>5} cases  {point.auc.value:.3f} "
                f"({point.auc.low:.3f} to {point.auc.high:.3f}); of the classes "
                f"{', '.join(f'{share:.0%}' for share in point.prevalence)} are left"
            )
        if group.area is not None:
            for name, area in (
                ("uncertainty", group.area.uncertainty),
                ("maximum probability", group.area.maximum_probability),
                ("the one - the other", group.area.difference),
            ):
                lines.append(
                    f"  mean gain over random rejection by {name}: {area.value:+.3f} ({area.low:+.3f} to "
                    f"{area.high:+.3f})"
                )
        verdict = {True: "rises", False: "does not rise", None: "cannot be judged"}[group.rises]
        lines.append(f"  up to 25 %: AUC {verdict} within its interval")
    return lines

"""Command ``recon speed``: what this machine does."""

from typing import Annotated, Any

import typer

from cli.flags import AsJson, Device, PriorFolder
from cli.options import Given, with_options
from cli.output import emit, note
from cli.progress import Progress
from recon.benchmark.speed_options import SpeedOptions


def register(app: typer.Typer) -> None:
    """Add this group's command to the application."""
    app.command()(speed)


@with_options(SpeedOptions)
def speed(
    given: Given,
    prior: PriorFolder = None,
    report: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the tables to this Markdown file, too.", show_default=False),
    ] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure this machine: seconds of a slice by stage, memory, the network alone, training, and what bf16 costs.

    Everything is simulated. On a GPU the full-size recipe (65 million weights) is timed with an untrained network
    beside the prior. Close other programs first: seconds are those of the clock.
    """
    from recon.atomic import atomic_path, check_place
    from recon.configuration import load_config

    options = load_config(SpeedOptions, None, given)
    check_place(report)
    note("measuring this machine on a simulated scan; nothing else should run now")

    import torch

    from recon.benchmark.speed import speed as measure
    from recon.prior.store import load_prior, shipped_prior
    from recon.reconstruction.machine import chosen_device, physical_threads

    torch.set_num_threads(physical_threads())
    place = chosen_device(device)
    with Progress() as progress:
        progress.show("loading the prior", 0.0)
        found = measure(load_prior(prior or shipped_prior(), place), options, device=place, report=progress.show)
    lines = _lines(found)
    if report is not None:
        with atomic_path(report) as temporary:
            temporary.write_text("\n".join(["# What this machine does", "", *lines, ""]), encoding="utf-8")
        lines = [*lines, f"report: {report}"]
    emit({**found, "report": report}, lines, as_json)


def _lines(found: dict[str, Any]) -> list[str]:
    """The tables in Markdown, which a terminal shows as well."""
    options = found["options"]
    readout, phase = options["size"]
    facts = found["machine"]
    where = facts.get("device", f"{facts['architecture']} processor, {facts['threads']} threads")
    lines = [
        f"{where}, {facts['precision']}, torch {facts['torch']}, recon {facts['recon']}",
        "",
        f"Reconstruction of a simulated scan, {options['coils']} coils x {readout} x {phase}, R = "
        f"{options['acceleration']:g}, {options['slices']} slices:",
        "",
    ]
    rows = found["reconstruction"]
    stages = list(dict.fromkeys(stage for row in rows for stage in row["seconds"]))
    table = [["network", "weights", "calls a slice", *stages, "all (s a slice)", "slices a minute", "peak memory"]]
    for row in rows:
        cells = [f"{row['seconds'].get(stage, 0.0):.3f}" for stage in stages]
        table.append(
            [row["network"], _millions(row["parameters"]), str(row["network_calls"]), *cells,
             f"{row['seconds_a_slice']:.3f}", f"{60 / row['seconds_a_slice']:.1f}", _bytes(row["peak_memory"])]
        )  # fmt: skip
    lines += [*_table(table), "", "One network call on one image:", ""]
    compiled = found.get("network_seconds_a_call_compiled", {})
    calls = [["network", "seconds", *(["compiled"] if compiled else [])]]
    for name, seconds in found["network_seconds_a_call"].items():
        calls.append([name, f"{seconds:.4f}", *([f"{compiled[name]:.4f}"] if compiled else [])])
    training = found["training"]
    lines += [
        *_table(calls),
        "",
        f"Training of {options['recipe']} ({_millions(training['parameters'])} weights): {training['batch']} images of "
        f"{training['crop']} x {training['crop']} take {training['seconds_a_step']:.3f} s, "
        f"{training['images_a_second']:.1f} images a second, peak memory {_bytes(training['peak_memory'])}",
        "",
        *_precision(found["precision"], facts["precision"]),
    ]
    return lines


def _precision(found: dict[str, float], name: str) -> list[str]:
    if name == "fp32":
        lines = ["The network is computed in single precision here: no lower one to compare with"]
    else:
        lines = [
            f"The image in {name} differs from the one in single precision by {found['low_against_full']:.2e} of "
            f"itself, {found['low_against_full_over_std']:.3f} of its standard deviation"
        ]
    if "full_against_full_on_processor" in found:
        lines.append(
            f"from the processor's in single precision it differs by {found['low_against_full_on_processor']:.2e}, the "
            f"device's own in single precision by {found['full_against_full_on_processor']:.2e}"
        )
    return lines


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _millions(number: int) -> str:
    return f"{number / 1e6:.1f} M"


def _bytes(number: int | None) -> str:
    return "not known" if number is None else f"{number / 1e9:.2f} GB"

"""The demonstration: a simulated stroke scan, undersampled and reconstructed by every method, judged and drawn.

Everything goes through the same files and functions as a real scan. The head is a random deformation of the ICBM152
average, which the shipped prior was trained on in other deformations: the figures show that the chain works and what
to expect in kind, not how well it does on patients.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recon.atomic import atomic_path
from recon.benchmark.options import DemonstrationOptions
from recon.progress import Report, silent
from recon.quality.comparison import compare_files
from recon.reconstruction.methods import METHODS
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct_to_file
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample
from recon.simulate.cohort import simulate_cohort
from recon.simulate.options import SimulationOptions

if TYPE_CHECKING:
    from recon.prior.store import Prior

FIGURES = ("nrmse", "psnr", "ssim", "hfen", "lesion_contrast_error", "lesion_nrmse")
SUBJECT = SimulationOptions(
    size=(192, 160), coils=8, slices=3, snr=30.0, stroke=True, territory="MCA", stage="subacute", seed=3
)

SMALL_SUBJECT = replace(SUBJECT, size=(96, 80), slices=1)


@dataclass(frozen=True)
class Demonstration:
    """One row a method and acceleration, with the keys of ``FIGURES``, and where the figure and the table are."""

    rows: tuple[dict[str, Any], ...]
    figure: Path
    table: Path


def demonstrate(
    out: Path,
    load: Callable[[], "Prior"],
    options: DemonstrationOptions,
    *,
    device: torch.device | str = "cpu",
    report: Report = silent,
) -> Demonstration:
    """Run the demonstration in the folder ``out``: scan, undersampled scans, results, ``demo.json``, ``demo.png``.

    ``load`` gives the prior when it is first needed. Raises ReconError when the folder cannot be written.
    """
    from recon.quality.drawing import save

    report("simulating a stroke FLAIR scan", 0.0)
    folder = out / "scan"
    manifest = simulate_cohort(folder, 1, ["FLAIR"], SMALL_SUBJECT if options.quick else SUBJECT)
    subject = manifest["scans"][0]
    reference, lesion = folder / subject["file"], folder / subject["lesion_file"]
    runs = _reconstructions(out, reference, load, options, device, report)
    report("comparing with the fully sampled scan", 1.0)
    found = compare_files([run.output for run in runs], [reference], [lesion])
    rows = tuple(
        {
            "acceleration": run.acceleration,
            "net_acceleration": row["acceleration"],
            "method": run.method,
            **{key: row[key] for key in FIGURES},
            **run.figures,
            "output": str(row["result"]),
        }
        for run, row in zip(runs, found, strict=True)
    )
    figure, table = out / "demo.png", out / "demo.json"
    save(_draw(runs, reference, lesion), figure)
    described = {"simulated": True, "subject": subject, "seed": options.seed, "rows": rows}
    with atomic_path(table) as temporary:
        temporary.write_text(json.dumps(described, indent=1, allow_nan=False), encoding="utf-8")
    return Demonstration(rows, figure, table)


@dataclass(frozen=True)
class _Run:
    """One method at one acceleration."""

    acceleration: int
    method: str
    output: Path
    figures: dict[str, Any]


def _reconstructions(
    out: Path,
    reference: Path,
    load: Callable[[], "Prior"],
    options: DemonstrationOptions,
    device: torch.device | str,
    report: Report,
) -> list[_Run]:
    """Undersample the scan and reconstruct it by every method of the demonstration."""
    scan = open_scan(reference)
    methods = [row for row in METHODS.values() if row.shown]
    jobs = [(rate, row) for rate in options.accelerations for row in sorted(methods, key=lambda row: row.needs_prior)]
    costs = [row.duration(ReconstructionOptions(method=row.name), float(rate)) for rate, row in jobs]
    prior: Prior | None = None
    runs: list[_Run] = []
    for number, (rate, row) in enumerate(jobs):
        sampled = out / f"R{rate}" / f"{reference.stem}.h5"
        if not any(run.acceleration == rate for run in runs):
            sampled.parent.mkdir(parents=True, exist_ok=True)
            undersample(scan, sampled, UndersamplingOptions(acceleration=rate, seed=options.seed))
        behind, share = sum(costs[:number]) / sum(costs), costs[number] / sum(costs)

        def advance(
            name: str,
            fraction: float,
            stage: str = f"R = {rate}, {row.name}",
            behind: float = behind,
            share: float = share,
        ) -> None:
            report(stage, behind + share * fraction)

        advance("", 0.0)
        if row.needs_prior and prior is None:
            prior = load()
        output = sampled.parent / f"{row.name}.h5"
        choice = ReconstructionOptions(method=row.name, seed=options.seed)
        outcome = reconstruct_to_file(open_scan(sampled), choice, output, prior, device=device, report=advance)
        figures = {
            "seconds": outcome.seconds["total"],
            "network_calls": outcome.network_calls,
            **{key: outcome.figures[key] for key in ("chi2",) if key in outcome.figures},
            "warnings": list(outcome.warnings),
        }
        runs.append(_Run(rate, row.name, output, figures))
    return runs


def _draw(runs: Sequence[_Run], reference: Path, lesion: Path) -> Any:
    """The figure: methods side by side in the slice with the most lesion."""
    from recon.images.references import read_lesions, read_reference
    from recon.images.result import read_result
    from recon.quality.figures import benchmark, slice_to_show
    from recon.quality.lesions import lesion_mask

    truth = read_reference(reference)
    outline = lesion_mask(read_lesions(lesion).values)
    index = slice_to_show(truth.values, outline)
    rows: dict[float, dict[str, Any]] = {}
    for run in runs:
        title = METHODS[run.method].title
        rows.setdefault(float(run.acceleration), {})[title] = read_result(run.output).reconstruction[index]
    return benchmark(
        rows,
        truth.values[index],
        lesion=outline[index],
        affine=truth.affine,
        title="Simulated FLAIR of a subacute stroke, 8 coils",
    )

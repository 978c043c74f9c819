"""The demonstration: a simulated stroke scan, undersampled and reconstructed by every method, judged and drawn.

Everything goes through the same files and functions as a real scan. The head is a random deformation of the ICBM152
average, which the shipped prior was trained on in other deformations: the figures show that the chain works and what
to expect in kind, not how well it does on patients.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recon.atomic import atomic_path
from recon.quality.comparison import compare_files
from recon.reconstruction.pipeline import Method, ReconstructionOptions, plan_for, reconstruct
from recon.scans.opening import open_scan
from recon.scans.undersample import undersample
from recon.simulate.anatomy_files import builtin_sources
from recon.simulate.cohort import Settings, simulate_cohort

if TYPE_CHECKING:
    from recon.prior.store import Prior

METHODS: tuple[Method, ...] = ("zero-filled", "grappa", "sense", "l1-wavelet", "posterior")
FIGURES = ("nrmse", "psnr", "ssim", "hfen", "lesion_contrast_error", "lesion_nrmse")
SUBJECT = Settings(size=(192, 160), coils=8, slices=3, snr=30.0, stroke=True, territory="MCA", stage="subacute", seed=3)

SMALL_SUBJECT = replace(SUBJECT, size=(96, 80), slices=1)


@dataclass(frozen=True)
class DemonstrationOptions:
    """``quick`` takes one slice of 96 x 80 instead of three of 192 x 160; ``seed`` is that of masks and samples."""

    accelerations: tuple[int, ...] = (2, 4)
    quick: bool = False
    seed: int = 0


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
    report: Callable[[str, float], None] = lambda stage, done: None,
) -> Demonstration:
    """Run the demonstration in the folder ``out``: scan, undersampled scans, results, ``demo.json``, ``demo.png``.

    ``load`` gives the prior when it is first needed; ``report(stage, done)`` says in words what is done next and which
    fraction of the work is behind. Raises ReconError when the folder cannot be written.
    """
    from recon.quality.drawing import save

    report("simulating a stroke FLAIR scan", 0.0)
    subject = SMALL_SUBJECT if options.quick else SUBJECT
    folder = out / "scan"
    manifest = simulate_cohort(folder, builtin_sources(), 1, ["FLAIR"], subject)
    entry = manifest["scans"][0]
    reference, lesion = folder / entry["file"], folder / entry["lesion_file"]
    scan = open_scan(reference)
    costs = {(rate, method): _cost(method, rate) for rate in options.accelerations for method in METHODS}
    whole, behind = sum(costs.values()), 0.0
    results: dict[tuple[int, Method], Path] = {}
    facts: dict[tuple[int, Method], dict[str, Any]] = {}
    prior: Prior | None = None
    for rate in options.accelerations:
        sampled = out / f"R{rate}" / f"{reference.stem}.h5"
        sampled.parent.mkdir(parents=True, exist_ok=True)
        undersample(scan, sampled, acceleration=rate, seed=options.seed)
        faster = open_scan(sampled)
        for method in METHODS:
            stage = f"R = {rate}, {method}"
            report(stage, behind / whole)
            if method == "posterior" and prior is None:
                prior = load()
            share = costs[rate, method]

            def advance(
                done: int, total: int, stage: str = stage, behind: float = behind, share: float = share
            ) -> None:
                report(stage, (behind + share * done / total) / whole)

            output = sampled.parent / f"{method}.h5"
            choice = ReconstructionOptions(method=method, seed=options.seed)
            outcome = reconstruct(faster, choice, output, prior, device=device, report=advance)
            results[rate, method] = output
            facts[rate, method] = {
                "seconds": outcome.seconds["total"],
                "network_calls": outcome.network_calls,
                **{key: outcome.figures[key] for key in ("chi2",) if key in outcome.figures},
                "warnings": list(outcome.warnings),
            }
            behind += share
    report("comparing with the fully sampled scan", 1.0)
    found = compare_files(list(results.values()), [reference], [lesion])
    rows = tuple(
        {
            "acceleration": rate,
            "net_acceleration": row["acceleration"],
            "method": method,
            **{key: row[key] for key in FIGURES},
            **facts[rate, method],
            "output": str(row["result"]),
        }
        for (rate, method), row in zip(results, found, strict=True)
    )
    figure, table = out / "demo.png", out / "demo.json"
    save(_draw(results, reference, lesion), figure)
    described = {"simulated": True, "subject": entry, "seed": options.seed, "rows": rows}
    with atomic_path(table) as temporary:
        temporary.write_text(json.dumps(described, indent=1, allow_nan=False), encoding="utf-8")
    return Demonstration(rows, figure, table)


def _cost(method: Method, rate: int) -> float:
    """About how long a method takes against the others, for the progress bar."""
    fixed = {"zero-filled": 0.3, "sense": 0.5, "grappa": 2.0, "l1-wavelet": 4.0}
    if method != "posterior":
        return fixed[method]
    plan = plan_for(ReconstructionOptions(), float(rate), 0.0)
    return 0.15 * plan.samples * plan.schedule.steps


def _draw(results: dict[tuple[int, Method], Path], reference: Path, lesion: Path) -> Any:
    """The figure: methods side by side in the slice with the most lesion."""
    from recon.images.result import read_result
    from recon.quality.figures import benchmark, slice_to_show
    from recon.quality.lesions import lesion_mask
    from recon.quality.panels import NAMES
    from recon.quality.references import read_lesions, read_reference

    truth = read_reference(reference)
    outline = lesion_mask(read_lesions(lesion).values)
    index = slice_to_show(truth.values, outline)
    rows: dict[float, dict[str, Any]] = {}
    for (rate, method), path in results.items():
        rows.setdefault(float(rate), {})[NAMES.get(method, method)] = read_result(path).reconstruction[index]
    return benchmark(
        rows,
        truth.values[index],
        lesion=outline[index],
        affine=truth.affine,
        title="Simulated FLAIR of a subacute stroke, 8 coils",
    )

"""Commands that reconstruct: reconstruct."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.output import emit, note
from cli.progress import Progress


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.command()(reconstruct)


def reconstruct(
    scans: Annotated[list[str], typer.Argument(help="Scan files, or folders of them.")],
    out: Annotated[str, typer.Option(help="Folder for the results.")],
    prior: Annotated[
        str | None, typer.Option(help="Folder of a prior. Default: the small one that comes with recon.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="posterior, zero-filled, sense, l1-wavelet or grappa.")] = None,
    sampler: Annotated[str | None, typer.Option(help="stochastic-dds, pula or dps.")] = None,
    samples: Annotated[int | None, typer.Option(help="Posterior samples. Default: by acceleration.")] = None,
    steps: Annotated[int | None, typer.Option(help="Network calls a sample. Default: by acceleration.")] = None,
    sigma_max: Annotated[float | None, typer.Option(help="Noise level to start from.")] = None,
    sigma_min: Annotated[float | None, typer.Option(help="Noise level of the last denoising.")] = None,
    denoiser_variance: Annotated[
        str | None, typer.Option(help="Denoising error: scan (checked against the scan) or table.")
    ] = None,
    weight: Annotated[
        float | None, typer.Option(help="Regularisation of sense and l1-wavelet; data weight of dps.")
    ] = None,
    noise_sigma: Annotated[
        float | None, typer.Option(help="Noise standard deviation per real component, file units.")
    ] = None,
    contrast: Annotated[
        str | None, typer.Option(help="Contrast contrast_label of the prior, if the file does not say it.")
    ] = None,
    coils: Annotated[int | None, typer.Option(help="Virtual coils to compress to. Default 16.")] = None,
    map_sets: Annotated[int | None, typer.Option(help="2 when the field of view is smaller than the head.")] = None,
    keep_samples: Annotated[bool | None, typer.Option("--keep-samples", help="Store every sample.")] = None,
    batch: Annotated[int | None, typer.Option(help="Slices at a time.")] = None,
    formats: Annotated[
        str,
        typer.Option("--format", help="What to write beside the HDF5 file, comma-separated: h5, nifti, dicom, png."),
    ] = "h5",
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Fully sampled scan, for the error in the PNG. Repeat for several: matched by name.",
        ),
    ] = None,
    config: Annotated[str | None, typer.Option(help="YAML file with these options; flags override it.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same samples.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: cuda where there is one.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Processor threads; 0 uses every core.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Reconstruct undersampled scans.

    Writes one result file a scan: posterior mean, standard deviation, zero-filled image and the audit. Scans that have
    a result already are kept, so an interrupted cohort continues. Under 'accelerate launch -m cli reconstruct ...' each
    process takes its share of the scans; the results are the same to the bit.
    """
    from cli.priors import find_scans
    from recon.configuration import load_config
    from recon.errors import ReconError

    given = {
        "method": method, "sampler": sampler, "samples": samples, "steps": steps, "sigma_max": sigma_max, "sigma_min":
        sigma_min, "denoiser_variance": denoiser_variance, "weight": weight, "noise_sigma": noise_sigma, "contrast":
        contrast, "coils": coils, "map_sets": map_sets, "keep_samples": keep_samples, "batch": batch, "seed": seed,
    }  # fmt: skip
    wanted = [entry.strip() for entry in formats.split(",") if entry.strip()]
    unknown = set(wanted) - {"h5", "nifti", "dicom", "png"}
    if unknown or not wanted:
        raise ReconError(f"--format {formats}: choose from h5, nifti, dicom, png")
    if reference and "png" not in wanted:
        raise ReconError("--reference draws the error into the PNG: add --format png, or use 'recon evaluate'")
    paths = find_scans(scans)
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        raise ReconError("two scans have the same name and would overwrite each other; reconstruct them apart")
    note(f"reconstructing {len(paths)} scan{'s' * (len(paths) > 1)}")

    import torch

    from recon.quality.pairing import pair
    from recon.reconstruction.cohort import check_kept, own_share, rank_and_world
    from recon.reconstruction.export import check_exportable, export, exported
    from recon.reconstruction.pipeline import ReconstructionOptions, default_device, physical_threads
    from recon.reconstruction.pipeline import reconstruct as run
    from recon.scans.opening import open_scan

    options = load_config(ReconstructionOptions, config, given)
    torch.set_num_threads(threads or physical_threads())
    chosen = device or default_device()
    if chosen.startswith("cuda") and not torch.cuda.is_available():
        raise ReconError(f"--device {chosen}: no CUDA device here; leave --device away to use the processor")
    if chosen == "cuda" and rank_and_world()[1] > 1:
        chosen = f"cuda:{rank_and_world()[0] % torch.cuda.device_count()}"
    references: list[Path | None] = [*pair(names, reference, "reference")] if reference else [None] * len(paths)
    work = own_share(list(zip(paths, references, strict=True)))
    results: list[dict[str, Any]] = []
    with Progress() as progress:
        progress.show("loading the prior" if options.method == "posterior" else "opening scans", 0.0)
        loaded = _load_prior(prior, chosen) if options.method == "posterior" else None
        prior_hash = None if loaded is None else loaded.facts.weights_sha256
        for position, (path, truth) in enumerate(work):
            output = Path(out) / f"{path.stem}.h5"
            entry: dict[str, Any] = {"scan": str(path), "output": str(output), "kept": output.is_file()}
            if entry["kept"]:
                check_kept(output, options, prior_hash)
                note(f"{output}: kept, it is there already")
                results.append(entry)
                if exported(output, wanted):
                    continue
            scan = open_scan(path)
            check_exportable(scan, wanted)
            if not entry["kept"]:

                def show(done: int, total: int, name: str = path.stem, position: int = position) -> None:
                    progress.show(name, (position + done / total) / len(work))

                show(0, 1)
                outcome = run(scan, options, output, loaded, device=chosen, report=show)
                for warning in outcome.warnings:
                    note(f"{path.stem}: warning: {warning}")
                entry |= {
                    "acceleration": scan.acceleration, "network_calls": outcome.network_calls,
                    "seconds": outcome.seconds["total"], "stages": outcome.seconds, **outcome.figures,
                    "warnings": list(outcome.warnings),
                }  # fmt: skip
                results.append(entry)
            entry["files"] = [str(file) for file in export(output, scan, wanted, truth)]
    lines = [_line(entry) for entry in results]
    emit({"output": out, "scans": results}, lines, as_json)


def _load_prior(folder: str | None, device: str) -> Any:
    from recon.prior.store import load_prior, shipped_prior

    return load_prior(folder or shipped_prior(), device)


def _line(entry: dict[str, Any]) -> str:
    if entry["kept"]:
        return f"{entry['output']}: kept"
    text = f"{entry['output']}: R = {entry['acceleration']:.2f}, {entry['seconds']:.1f} s{_shares(entry['stages'])}"
    if "chi2" in entry:
        text += (
            f", chi2 {entry['chi2']:.3f} (expected 1), noise raised {entry['noise_inflation']:.2f}x, "
            f"denoising error {entry['denoising_inflation']:.2f}x the table"
        )
        if "averaging_gain_db" in entry:
            text += (
                f", averaging gain {entry['averaging_gain_db']:.2f} dB (law {entry['averaging_gain_expected_db']:.2f})"
            )
    return text + (f"; {len(entry['warnings'])} warning(s)" if entry["warnings"] else "; no warnings")


def _shares(stages: dict[str, float]) -> str:
    """Where the time of a sampling run went, in per cent."""
    if "network" not in stages:
        return ""
    consistency = sum(stages[name] for name in ("map refinement", "solver set-up", "data consistency"))
    shares = {"network": stages["network"], "data consistency": consistency}
    shares["everything else"] = stages["total"] - sum(shares.values())
    percent = [f"{name} {100 * value / stages['total']:.0f} %" for name, value in shares.items()]
    return f" ({', '.join(percent)})"

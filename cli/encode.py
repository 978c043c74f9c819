"""Commands that ask what a foundation model sees: encode list, doctor, drift, map, dx."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.output import emit, note

if TYPE_CHECKING:
    from recon.encode.interface import Encoder
    from recon.encode.volumes import Series

encode_app = typer.Typer(
    name="encode",
    help="What does a foundation model see in a reconstruction, compared with its reference? Exploratory.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

EncoderName = Annotated[
    str | None, typer.Option("--encoder", metavar="NAME", help="See 'recon encode list'; default: the shipped one.")
]
Weights = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Weights of the encoder, where they do not come with recon.")
]
RandomInit = Annotated[
    int | None,
    typer.Option(metavar="SEED", help="Use random weights drawn from this seed instead: a control, or to try things."),
]
Reference = Annotated[Path, typer.Option(metavar="FILE", help="Fully sampled scan, result, or NIfTI to compare with.")]
SliceAxis = Annotated[
    str,
    typer.Option(
        metavar="header|upstream|0|1|2",
        help="Axis of the reference taken as slice direction: from its header (largest spacing), by NeuroVFM's own "
        "size rule, or as given.",
    ),
]
VoxelSize = Annotated[
    str | None,
    typer.Option(metavar="R,P,S", help="Voxel size in mm (readout,phase,slice) for files that have no affine."),
]
Resample = Annotated[
    bool, typer.Option("--resample", help="Interpolate reconstructions that lie on another grid onto the reference's.")
]
Snr = Annotated[
    float | None,
    typer.Option(help="The scan's SNR (mean signal over noise per real component); default: stored, else estimated."),
]
Seed = Annotated[int, typer.Option(help="Seed of the noise replicas and of the random-init control.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")]
Precision = Annotated[Literal["fp32", "bf16"], typer.Option(help="Arithmetic of the encoder.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.add_typer(encode_app)


@encode_app.command("list")
def list_encoders(as_json: Json = False) -> None:
    """Encoders that recon knows, whether each is loadable here, and what must be obtained where."""
    from recon.encode.encoders import ENCODERS, missing_packages

    rows: list[dict[str, Any]] = []
    for row in ENCODERS:
        absent = missing_packages(row)
        needs = [f"pip install 'recon[encoders]' ({', '.join(absent)} missing)"] if absent else []
        needs += [] if row.ships else [row.obtain]
        rows.append(
            {
                "encoder": row.name,
                "architecture": row.architecture,
                "token": row.token,
                "licence": row.licence,
                "ships": row.ships,
                "missing_packages": absent,
                "loadable": "now" if not needs else "with random weights" if not absent else "no",
                "needs": needs,
            }
        )
    lines = []
    for entry in rows:
        lines.append(f"{entry['encoder']:<16} {entry['architecture']}; token {entry['token']}; {entry['licence']}")
        lines.append(f"{'':<16} loadable here: {entry['loadable']}")
        lines += [f"{'':<16} needs: {need}" for need in entry["needs"]]
    emit({"encoders": rows}, lines, as_json)


@encode_app.command()
def doctor(
    volume: Annotated[Path | None, typer.Argument(metavar="VOLUME", help="Result, scan or NIfTI to check.")] = None,
    encoder: EncoderName = None,
    weights: Weights = None,
    random_init: RandomInit = None,
    head: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Diagnostic head to check.")] = None,
    reference: Annotated[Path | None, typer.Option(metavar="FILE", help="Check that both share a grid.")] = None,
    slice_axis: SliceAxis = "header",
    voxel_size: VoxelSize = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> int:
    """Licence, weight hash, slice axis chosen, tokens kept and dropped, and every reason to refuse. Exits 1 if any."""
    from recon.encode.doctor import examine
    from recon.encode.encoders import choose_encoder

    edges = _edges(voxel_size)
    axis = None if volume is None else _axis(slice_axis, volume, edges, tolerant=True)
    found = examine(
        choose_encoder(encoder),
        weights,
        random_seed=random_init,
        head=head,
        volume=volume,
        reference=reference,
        slice_axis=axis,
        voxel_size=edges,
        device=device,
    )
    lines = [f"{key.replace('_', ' '):<22} {_words(value)}" for key, value in found.facts.items()]
    lines += [f"refused: {reason}" for reason in found.refusals] or ["nothing to refuse"]
    emit({**found.facts, "refusals": found.refusals, "usable": not found.refusals}, lines, as_json)
    return 1 if found.refusals else 0


@encode_app.command()
def drift(
    reconstructions: Annotated[
        list[Path], typer.Argument(metavar="RESULT...", help="Results of 'recon reconstruct', or NIfTI.")
    ],
    reference: Reference,
    encoder: EncoderName = None,
    weights: Weights = None,
    random_init: RandomInit = None,
    lock: Annotated[
        Literal["reference", "none"],
        typer.Option(
            help="reference: geometry, mask and intensity map are the reference's; none: each volume makes its own, as "
            "upstream does, which measures mostly the mask.",
        ),
    ] = "reference",
    snr: Snr = None,
    replicas: Annotated[int, typer.Option(min=2, help="Noise-only replicas of the reference.")] = 8,
    max_samples: Annotated[int, typer.Option(min=0, help="Posterior samples to embed.")] = 8,
    slice_axis: SliceAxis = "header",
    voxel_size: VoxelSize = None,
    resample: Resample = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write drift.json, drift.csv and one PNG a reconstruction.")
    ] = None,
    seed: Seed = 0,
    precision: Precision = "fp32",
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """How far reconstructions move an encoder's tokens from the reference's, beside what noise alone does.

    Exploratory: encoder drift has not been validated against radiologists. HFEN, SSIM, DISTS (where installed), a noise
    floor, the posterior samples and a random-init control of the same architecture always stand beside it.
    """
    from recon.encode.drift import measure_drift, view_reference
    from recon.encode.drift_report import as_values, write_figure, write_rows
    from recon.encode.encoders import load_encoder
    from recon.encode.volumes import with_noise_of

    edges = _edges(voxel_size)
    axis = _axis(slice_axis, reference, edges)
    base = _read(reference, edges, encoder)
    rebuilt = [_onto(path, base, edges, encoder, resample) for path in reconstructions]
    base = with_noise_of(base, rebuilt)
    network = _load(encoder, weights, random_init, device, precision)
    control_seed = seed if random_init is None else random_init + 1
    say = _progress()
    options: dict[str, Any] = {"seed": seed, "replicas": replicas, "snr": snr, "lock": lock, "slice_axis": axis}
    view = view_reference(network, base, say=say, **options)
    random_network = load_encoder(network.name, weights, device=device, random_seed=control_seed, precision=precision)
    control = view_reference(random_network, base, say=say, **options)
    reports = [
        (series, measure_drift(series, view, control, lock=lock, max_samples=max_samples, say=say))
        for series in rebuilt
    ]
    prepared = view.prepared
    result: dict[str, Any] = {
        "encoder": network.name,
        "licence": network.licence,
        "weights_hash": network.weights_hash,
        "reference": str(reference),
        "lock": lock,
        "slice_axis": prepared.lock.slice_axis,
        "tokens_kept": len(prepared.coords),
        "tokens_dropped": int(prepared.mask.size - prepared.mask.sum()),
        "token_size_mm": prepared.token_size,
        "exploratory": True,
        "reconstructions": [as_values(series, report) for series, report in reports],
    }
    if out is not None:
        result["output"] = str(out)
        write_rows(out / "drift.csv", reports)
        for number, (series, report) in enumerate(reports):
            write_figure(out / f"drift-{number:02d}.png", view, series, report)
        _write_json(out / "drift.json", result)
    emit(result, _drift_lines(result, reports), as_json)


@encode_app.command("map")
def map_tokens(
    reconstruction: Annotated[Path, typer.Argument(metavar="RESULT", help="Result of 'recon reconstruct', or NIfTI.")],
    reference: Reference,
    out: Annotated[Path, typer.Option(metavar="FILE", help="NIfTI to write (.nii.gz), in the reference's space.")],
    encoder: EncoderName = None,
    weights: Weights = None,
    random_init: RandomInit = None,
    label: Annotated[
        str | None,
        typer.Option(help="Map what each token added to the change of this label's score (needs --head)."),
    ] = None,
    head: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Diagnostic head with its label names.")] = None,
    slice_axis: SliceAxis = "header",
    voxel_size: VoxelSize = None,
    resample: Resample = False,
    precision: Precision = "fp32",
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Where the tokens moved: differences painted back into the patient's own space, as coarse as the tokens are."""
    from recon.encode.map import difference_map, label_map, write_map
    from recon.errors import ReconError

    if (label is None) != (head is None):
        raise ReconError("--label and --head belong together: give both, or neither")
    edges = _edges(voxel_size)
    axis = _axis(slice_axis, reference, edges)
    base = _read(reference, edges, encoder)
    series = _onto(reconstruction, base, edges, encoder, resample)
    network = _load(encoder, weights, random_init, device, precision)
    prepared = network.prepare(base.values, base.affine, slice_axis=axis)
    before = network.encode(prepared)
    after = network.encode(network.prepare(series.values, base.affine, prepared.lock))
    if label is not None and head is not None:
        from recon.encode.neurovfm_head import load_head

        _need_neurovfm(network)
        token_map = label_map(prepared, before, after, load_head(head), label)
    else:
        token_map = difference_map(prepared, before, after)
    write_map(out, token_map)
    peak = ", ".join(f"{value:.1f}" for value in token_map.peak_world)
    result = {
        "output": str(out),
        "quantity": token_map.quantity,
        "encoder": network.name,
        "weights_hash": network.weights_hash,
        "token_size_mm": token_map.token_size,
        "resolution": token_map.resolution,
        "tokens": len(token_map.coords),
        "peak_world_mm": token_map.peak_world,
        "peak_value": float(token_map.token_values[abs(token_map.token_values).argmax()]),
        "score_change": token_map.logit_change,
        "sum_of_tokens": float(token_map.token_values.sum()),
        "exploratory": True,
    }
    lines = [
        f"{out}: {token_map.quantity}",
        f"resolution {token_map.resolution}: nothing finer can be read from it",
        f"{len(token_map.coords)} tokens; largest {result['peak_value']:.3g} at RAS ({peak}) mm",
    ]
    if token_map.logit_change is not None:
        lines.append(
            f"score of {label} changed by {token_map.logit_change:+.4g}, the sum over tokens (not a probability)"
        )
    emit(result, lines, as_json)


@encode_app.command()
def dx(
    reference: Annotated[
        list[str], typer.Option(metavar="NAME=FILE", help="Reference of one series, e.g. FLAIR=full.nii.gz; repeat.")
    ],
    reconstruction: Annotated[
        list[str], typer.Option(metavar="NAME=FILE", help="Reconstruction of one series under the same name; repeat.")
    ],
    head: Annotated[Path, typer.Option(metavar="FOLDER", help="Diagnostic head with its label names.")],
    weights: Weights = None,
    random_init: RandomInit = None,
    snr: Snr = None,
    replicas: Annotated[int, typer.Option(min=0, help="Noise-only replicas of the study; 0 for none.")] = 4,
    everything: Annotated[bool, typer.Option("--all", help="Show every label, not only flips and stroke.")] = False,
    slice_axis: SliceAxis = "header",
    voxel_size: VoxelSize = None,
    resample: Resample = False,
    seed: Seed = 0,
    precision: Precision = "fp32",
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Study-level scores of NeuroVFM's head before and after reconstruction: changes and threshold flips.

    A series of the reference that has no reconstruction stands on both sides unchanged. Scores are logits, not
    probabilities: the head's calibration is known to be off.
    """
    from dataclasses import asdict

    from recon.encode.dx import compare_study
    from recon.encode.neurovfm_head import load_head
    from recon.errors import ReconError

    edges = _edges(voxel_size)
    named, rebuilt = _named(reference, "--reference"), _named(reconstruction, "--reconstruction")
    unknown = [name for name in rebuilt if name not in named]
    if unknown:
        raise ReconError(f"--reconstruction {unknown[0]}: no --reference {unknown[0]}=FILE to compare it with")
    loaded_head = load_head(head)
    bases = {name: _read(path, edges, "neurovfm") for name, path in named.items()}
    series = {
        name: _onto(rebuilt[name], bases[name], edges, "neurovfm", resample) if name in rebuilt else bases[name]
        for name in named
    }
    network = _load("neurovfm", weights, random_init, device, precision)
    change = compare_study(
        network,
        loaded_head,
        bases,
        series,
        seed=seed,
        replicas=replicas,
        snr=snr,
        slice_axis=_axis(slice_axis, next(iter(named.values())), edges),
        say=_progress(),
    )
    result = {
        "encoder": network.name,
        "weights_hash": network.weights_hash,
        "head_hash": loaded_head.weights_hash,
        "series": change.series,
        "unchanged_series": [name for name in named if name not in rebuilt],
        "tokens": change.tokens,
        "noise_replicas": change.replicas,
        "scores_are": "logits, not probabilities",
        "flips": [row.label for row in change.flips],
        "labels": [asdict(row) for row in change.labels],
        "exploratory": True,
    }
    shown = [row for row in change.labels if everything or row.stroke or row.flip]
    lines = [f"{'label':<36}{'reference':>10}{'recon':>10}{'change':>10}{'noise':>10}  crosses threshold"]
    for row in shown:
        noise = "-" if row.noise_delta is None else f"{row.noise_delta:.3f}"
        lines.append(
            f"{row.label:<36}{row.score_reference:>10.3f}{row.score_reconstruction:>10.3f}{row.delta:>+10.3f}{noise:>10}"
            f"  {row.flip}"
        )
    lines.append(
        f"{len(change.flips)} of {len(change.labels)} labels cross their threshold; scores are not probabilities"
    )
    emit(result, lines, as_json)


def _load(name: str | None, weights: Path | None, random_seed: int | None, device: str, precision: str) -> "Encoder":
    from recon.encode.encoders import choose_encoder, load_encoder

    chosen = choose_encoder(name)
    loaded = load_encoder(chosen, weights, device=device, random_seed=random_seed, precision=precision)
    if random_seed is not None:
        note(f"random weights (seed {random_seed}): the figures describe no trained encoder")
    return loaded


def _read(path: Path, edges: tuple[float, float, float] | None, encoder: str | None) -> "Series":
    from recon.encode.encoders import choose_encoder, find_row
    from recon.encode.geometry import check_volume
    from recon.encode.volumes import read_series

    series = read_series(path, edges)
    check_volume(series.values, series.affine, str(path), find_row(choose_encoder(encoder)).least_slices)
    return series


def _onto(
    path: Path, base: "Series", edges: tuple[float, float, float] | None, encoder: str | None, resample: bool
) -> "Series":
    from recon.encode.volumes import onto_reference

    return onto_reference(_read(path, edges, encoder), base, resample=resample)


def _edges(text: str | None) -> tuple[float, float, float] | None:
    from recon.errors import ReconError

    if text is None:
        return None
    try:
        first, second, third = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ReconError(f"--voxel-size {text}: give three lengths in mm, e.g. 0.7,0.7,5") from error
    return (first, second, third)


def _axis(text: str, path: Path, edges: tuple[float, float, float] | None, tolerant: bool = False) -> int | None:
    """The axis asked for; None leaves it to the header."""
    from recon.encode.geometry import upstream_slice_axis
    from recon.errors import ReconError

    if text == "header":
        return None
    if text in ("0", "1", "2"):
        return int(text)
    if text != "upstream":
        raise ReconError(f"--slice-axis {text}: give header, upstream, 0, 1 or 2")
    try:
        series = _read(path, edges, None)
        assert series.affine is not None
        return upstream_slice_axis(series.values.shape, series.affine).axis
    except ReconError:
        if tolerant:
            return None
        raise


def _named(entries: list[str], option: str) -> dict[str, Path]:
    from recon.errors import ReconError

    named: dict[str, Path] = {}
    for entry in entries:
        name, separator, path = entry.partition("=")
        if not separator or not name or not path:
            raise ReconError(f"{option} {entry}: give NAME=FILE, e.g. FLAIR=flair.nii.gz")
        if name in named:
            raise ReconError(f"{option} {name}: given twice; name the series differently")
        named[name] = Path(path)
    return named


def _need_neurovfm(network: "Encoder") -> None:
    from recon.errors import ReconError

    if network.name != "neurovfm":
        raise ReconError(
            f"the diagnostic head reads tokens of 'neurovfm', not of '{network.name}'; give --encoder neurovfm"
        )


def _progress() -> Callable[[str], None]:
    """Steps as plain lines on standard error, only at a terminal."""
    import sys

    return note if sys.stderr.isatty() else lambda _: None


def _write_json(path: Path, result: dict[str, Any]) -> None:
    import json

    from cli.output import finite
    from recon.atomic import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(finite(result), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _drift_lines(result: dict[str, Any], reports: list[Any]) -> list[str]:
    from recon.encode.drift_report import NO_SAMPLES

    size = result["token_size_mm"]
    lines = [
        f"{result['encoder']} ({result['weights_hash'][:24]}), licence {result['licence']}; exploratory",
        f"{result['tokens_kept']} tokens of {size[1]:.3g} x {size[2]:.3g} x {size[0]:.3g} mm, "
        f"{result['tokens_dropped']} dropped; slice axis {result['slice_axis']}; lock: {result['lock']}",
        f"{'':<28}{'cosine':>9}{'5th pct':>9}{'rel. L2':>9}{'pooled':>9}{'HFEN':>8}{'SSIM':>8}{'DISTS':>8}",
    ]
    for series, report in reports:
        drift_, control = report.drift, report.control
        lines.append(
            f"{_short_name(series):<28}{drift_.token_cosine:>9.5f}{drift_.token_cosine_p5:>9.5f}{drift_.relative_l2:>9.4f}"
            f"{drift_.pooled_cosine:>9.5f}{report.hfen:>8.3f}{report.ssim:>8.4f}"
            + (f"{'-':>8}" if report.dists.value is None else f"{report.dists.value:>8.4f}")
        )
        if report.samples:
            values = [sample.token_cosine for sample in report.samples]
            lines.append(f"  {len(values)} posterior samples: cosine {min(values):.5f} to {max(values):.5f}")
        elif series.samples is None and series.kind == "result of posterior":
            lines.append(f"  {NO_SAMPLES}")
        floor = [replica.token_cosine for replica in report.control_noise_floor.replicas]
        lines.append(
            f"  random-init control: {control.token_cosine:.5f}, its noise alone {min(floor):.5f} to {max(floor):.5f}"
        )
        lines.append(f"  {report.verdict}")
    missing = {report.dists.missing for _, report in reports if report.dists.missing}
    lines += [f"DISTS left out: {reason}" for reason in sorted(missing)]
    return lines


def _short_name(series: "Series") -> str:
    """File name and what made it, within a column of 27 letters."""
    method = series.kind.removeprefix("result of ")
    return (f"{series.path.name} {method}" if method != series.kind else series.path.name)[:27]


def _words(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_words(entry) for entry in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_words(entry)}" for key, entry in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

"""Commands on priors: prepare, pretrain."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import emit, note

if TYPE_CHECKING:
    from recon.prior.training import Progress


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.command()(prepare)
    app.command()(pretrain)


def prepare(
    scans: Annotated[list[str], typer.Argument(help="Fully sampled scans, or folders of them.")],
    out: Annotated[str, typer.Option(help="Folder for the prepared images, one file a scan.")],
    coils: Annotated[int, typer.Option(min=1, help="Virtual coils to keep.")] = 12,
    processes: Annotated[int, typer.Option(min=0, help="Processes; 0 uses every core.")] = 0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without scans that cannot be prepared.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Turn fully sampled scans into training images: whitened, compressed, coil-combined, scaled.

    Scans that are prepared already are kept, so an interrupted run continues.
    """
    from tqdm import tqdm

    from recon.errors import ReconError
    from recon.prior.preparation import PreparationOptions, prepare_all

    paths = find_scans(scans)
    made, kept, failed = 0, 0, []
    outcomes = prepare_all(paths, Path(out), PreparationOptions(coils=coils), processes or None)
    for outcome in tqdm(outcomes, total=len(paths), desc="preparing", unit="scan", dynamic_ncols=True):
        made += outcome.state == "made"
        kept += outcome.state == "kept"
        if outcome.state == "failed":
            failed.append(outcome.reason)
            if not skip_bad:
                raise ReconError(f"{outcome.reason} (add --skip-bad to go on without such scans)")
            note(f"skipped {outcome.reason}")
    if made + kept == 0:
        raise ReconError("no scan could be prepared")
    emit(
        {"output": out, "prepared": made, "kept": kept, "skipped": failed},
        [f"{made} scans prepared, {kept} kept, {len(failed)} skipped: {out}"],
        as_json,
    )


def find_scans(words: list[str]) -> list[Path]:
    """The scan files that the words name: files as they are, folders by what is in them, in order."""
    from recon.errors import ReconError

    paths: list[Path] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = [
                p for p in sorted(path.iterdir()) if p.suffix in (".h5", ".cfl") and not p.stem.endswith("_lesion")
            ]
            if not inside:
                raise ReconError(f"{path}: no .h5 or .cfl scans in this folder")
            paths += inside
        else:
            paths.append(path)
    return paths


def pretrain(
    data: Annotated[str, typer.Option(help="Folder of prepared images (recon prepare).")],
    out: Annotated[str, typer.Option(help="Folder for the prior; an interrupted run there is continued.")],
    config: Annotated[
        str, typer.Option(help="YAML file, or a recipe that comes with recon: cpu, fastmri-brain.")
    ] = "cpu",
    images: Annotated[int | None, typer.Option(help="Length of the run in images.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step, over all processes.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate after warm-up.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and noise.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda where there is one.")] = None,
    dry_run: Annotated[
        int, typer.Option(min=0, help="Stop after this many steps; report weights, time a step and peak memory.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a diffusion prior from scratch.

    On several GPUs or nodes: accelerate launch -m cli pretrain ... with the same options gives the same batches.
    """
    import os

    from recon.configuration import load_config
    from recon.prior.dataset import open_folder
    from recon.prior.training import TrainingOptions
    from recon.prior.training import pretrain as run

    overrides = {"images": images, "batch": batch, "learning_rate": learning_rate, "seed": seed}
    options = load_config(TrainingOptions, config, overrides)
    scans = open_folder(data)
    started = time.monotonic()
    with TrainingBar(options.images) as bar:
        stop = dry_run * options.batch if dry_run else None
        facts = run(options, scans, Path(out), bar.show, device=device, stop_after=stop)
    seconds = time.monotonic() - started
    if int(os.environ.get("RANK", "0")) != 0:
        return  # under accelerate launch one process speaks
    if facts is None and dry_run:
        result, lines = _dry_run(out, options, bar, seconds)
    elif facts is None:
        result = {"output": out, "images": bar.seen, "seconds": seconds, "finished": False}
        lines = [f"stopped after {bar.seen} images in {seconds:.0f} s; the same command continues"]
    else:
        result = {"output": out, "images": facts.images_seen, "seconds": seconds, "finished": True}
        lines = [f"prior trained on {facts.images_seen} images: {out}"]
    emit(result, lines, as_json)


def _dry_run(out: str, options: Any, bar: "TrainingBar", seconds: float) -> tuple[dict[str, Any], list[str]]:
    """What a few steps tell about the whole: weights, seconds a step after the first, peak memory."""
    import torch

    from recon.prior.denoiser import parameter_count

    parameters, memory = parameter_count(options.network), _peak_memory()
    result: dict[str, Any] = {
        "output": out, "images": bar.seen, "seconds": seconds, "finished": False, "parameters": parameters,
        "seconds_per_step": bar.seconds_per_step, "peak_memory_bytes": memory,
    }  # fmt: skip
    step = "" if bar.seconds_per_step is None else f", {bar.seconds_per_step:.2f} s a step of {options.batch} images"
    line = f"{parameters / 1e6:.1f} M parameters{step}"
    if memory is not None:
        line += f", {memory / 1e9:.2f} GB of memory at the peak"
    if torch.cuda.is_available():
        result["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated()
        line += f", {result['peak_device_memory_bytes'] / 1e9:.2f} GB on the device"
    return result, [line, f"stopped after {bar.seen} images in {seconds:.0f} s; the same command continues"]


def _peak_memory() -> int | None:
    """Bytes of this process at their peak; None on a system that does not tell."""
    import sys

    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class TrainingBar:
    """A tqdm bar in images; events as lines. Off a terminal, one line a minute."""

    def __init__(self, total: int) -> None:
        import sys

        from tqdm import tqdm

        interval = 0.5 if sys.stderr.isatty() else 60.0
        self._bar = tqdm(total=total, unit="image", desc="training", mininterval=interval, dynamic_ncols=True)
        self.seen = 0
        self._times: list[float] = []

    @property
    def seconds_per_step(self) -> float | None:
        """Mean over the steps after the first, which also starts everything; None for fewer than two."""
        return (self._times[-1] - self._times[0]) / (len(self._times) - 1) if len(self._times) > 1 else None

    def __enter__(self) -> "TrainingBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, progress: "Progress") -> None:
        if progress.images > self.seen:
            self._times.append(time.monotonic())
        self._bar.update(progress.images - self._bar.n)
        self._bar.set_postfix_str(f"epoch {progress.epochs:.1f}, loss {progress.loss:.4f}", refresh=False)
        self.seen = progress.images
        if progress.event and progress.event != "state saved":
            note(f"{progress.event} at {progress.images} images")

    def show_stage(self, progress: "Progress") -> None:
        """Progress of a run of many stages, whose length and stage's name may change on the way."""
        self._bar.total = progress.total
        self._bar.update(progress.images - self._bar.n)
        text = f"{progress.event}, epoch {progress.epochs:.1f}, loss {progress.loss:.4f}"
        self._bar.set_postfix_str(text, refresh=False)
        self.seen = progress.images

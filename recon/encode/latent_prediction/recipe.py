"""From folders of volumes to an encoder's folder: split by person, prepare, pre-train, write weights and model card."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon.encode.latent_prediction.encoder import save
from recon.encode.latent_prediction.options import PretrainingOptions
from recon.encode.latent_prediction.pretraining import EncoderRun
from recon.encode.latent_prediction.sampling import draw_batch
from recon.encode.latent_prediction.volumes import Source, by_head, cached_volumes, find_sources, is_held_out
from recon.errors import ReconError
from recon.processes import training_processes
from recon.progress import Note, Report, part_of, unsaid
from recon.training_loop import train

PREPARATION = 0.02  # share of a run that counts as bringing volumes onto the grid, where they are not kept from before


@dataclass(frozen=True)
class Pretrained:
    """What came of a run."""

    finished: bool
    samples: int
    volumes: int
    persons: int
    held_out_persons: int
    loss: float


def pretrain_encoder(
    options: PretrainingOptions,
    data: Sequence[str | Path],
    out: Path,
    report: Report,
    *,
    cache: Path | None = None,
    device: str = "cpu",
    stop_after: int | None = None,
    note: Note = unsaid,
) -> Pretrained:
    """Pre-train on every volume below ``data`` but those of held-out persons; an interrupted run continues.

    Under ``accelerate launch`` or ``torchrun`` the processes share every batch, and the first of them writes. Raises
    ReconError when no volume is left, one cannot be read, or the run diverges or collapses.
    """
    sources = find_sources(data)
    seed, fraction = options.seed, options.held_out_fraction
    chosen = [source for source in sources if not is_held_out(source.person, fraction, seed)]
    held_out = {source.person for source in sources} - {source.person for source in chosen}
    if not chosen:
        raise ReconError(f"all {len(held_out)} persons are held out; lower held_out_fraction ({fraction})")
    processes = training_processes(device, options.batch)
    with processes.one_after_the_other():
        volumes = cached_volumes(
            chosen, cache or out / "volumes", options.network.patch, part_of(report, 0, PREPARATION)
        )
    run = EncoderRun(options, out, processes)
    heads = by_head(volumes)
    finished = train(run, heads, part_of(report, PREPARATION, 1), note, stop_after)
    persons = len({source.person for source in chosen})
    if finished and processes.main:
        batch_spread = dataclasses.asdict(run.spread(draw_batch(heads, options, 0)))
        facts: dict[str, Any] = {
            "licence": "Apache-2.0",
            "pretraining": dataclasses.asdict(options),
            "samples": run.samples,
            "loss": run.loss,
            **batch_spread,
            "volumes": len(chosen),
            "persons": persons,
            "held_out_persons": len(held_out),
            "data": _origins(chosen),
        }
        save(out, run.teacher, facts, model_card(facts))
    return Pretrained(finished, run.samples, len(chosen), persons, len(held_out), run.loss)


def _origins(sources: Sequence[Source]) -> list[dict[str, Any]]:
    counts = Counter((source.origin, source.licence) for source in sources)
    return [
        {"origin": origin, "licence": licence, "volumes": number}
        for (origin, licence), number in sorted(counts.items())
    ]


def model_card(facts: dict[str, Any]) -> str:
    """The README of an encoder's folder, as far as the run itself knows."""
    options = facts["pretraining"]
    masks = f"the simulator's lesion masks, token by token (weight {options['lesion_weight']:g})"
    labels = masks if options["lesion_weight"] else "none"
    lines = [
        "# Small MR encoder, pre-trained by masked prediction in latent space",
        "",
        "Load it with `recon encode drift RESULT --reference FILE --encoder recon-small --weights THIS_FOLDER`.",
        "",
        "| | |",
        "|---|---|",
        f"| pre-training | {facts['samples']:,} samples of {options['tokens']} tokens, "
        f"{options['hidden_fraction']:.0%} hidden |",
        f"| labels | {labels} |",
        f"| data | {facts['volumes']} volumes of {facts['persons']} persons; "
        f"{facts['held_out_persons']} persons held out |",
        f"| effective rank of the tokens | {facts['effective_rank']:.1f} of {options['network']['width']} |",
        "",
        "| volumes | origin | licence |",
        "|---|---|---|",
        *(f"| {row['volumes']} | {row['origin']} | {row['licence']} |" for row in facts["data"]),
        "",
        "It is no diagnostic model and no medical device; its drift has not been compared with radiologists.",
        "",
    ]
    return "\n".join(lines)

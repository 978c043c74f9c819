"""Every training there is, of studies, encoders, tasks and priors, small: in one process, or in each of several."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recon.encode.encoders import load_encoder
from recon.encode.interface import DifferentiableEncoder
from recon.encode.latent_prediction.options import PretrainingOptions, TransformerOptions
from recon.encode.latent_prediction.recipe import pretrain_encoder
from recon.encode.probes.labels import read_labels
from recon.encode.tasks.fit import fit_task
from recon.encode.tasks.options import TaskFitOptions
from recon.prior.dataset import open_folder
from recon.prior.options import NetworkOptions as DenoiserOptions
from recon.prior.options import TrainingOptions
from recon.prior.pretraining import pretrain
from recon.progress import silent
from recon.study.fit import fit_study_model
from recon.study.images import Reconstructions
from recon.study.options import (
    GridOptions,
    NetworkOptions,
    PlanesFitOptions,
    StudyFitOptions,
    StudyPretrainingOptions,
    TransformerShape,
)
from recon.study.pretraining import pretrain_study_model
from recon.study.table import find_studies
from recon.study.two_planes import fit_planes

NETWORK = NetworkOptions(width=16, depth=1, heads=2, slab=1, code=2, stem=4)
GRID = GridOptions(pixel=5.0, matrix=(40, 40))
CONTRASTS = ("FLAIR", "DWI", "ADC")
# Batches of three: two processes have unequal parts of them.
FIT = StudyFitOptions(NETWORK, GRID, CONTRASTS, samples=18, batch=3, held_out_fraction=0.0, lesion_share=0.7)
PRETRAINING = StudyPretrainingOptions(NETWORK, GRID, CONTRASTS, samples=12, batch=3, held_out_fraction=0.0)
PLANES = PlanesFitOptions(
    TransformerShape(16, 1, 2, 16), GridOptions(pixel=5.0, matrix=(48, 48)), ("FLAIR", "T2STAR"), samples=12, batch=3,
    held_out_fraction=0.0,
)  # fmt: skip
TASK = TaskFitOptions(
    adapter="lora", label="lesion", pool="slices", pixel_weight=5.0, samples=12, batch=3, tokens=60, judge_samples=6,
    choose_on=0.4, hold_out=0.0,
)  # fmt: skip
# Both terms that are sums over all tokens: features that vary together, and lesions where they are known.
ENCODER = PretrainingOptions(
    TransformerOptions(width=16, depth=2, heads=2), samples=12, batch=3, tokens=20, predictor_width=8, target_layers=2,
    lesion_weight=5.0, held_out_fraction=0.0, least_rank=0.0, least_deviation=0.0, average_start=0.5, monitor_samples=6,
)  # fmt: skip
PRIOR = TrainingOptions(DenoiserOptions(channels=(8, 16)), images=16, batch=4, crop=16, seed=3)


def run_all(inputs: Sequence[Path], out: Path, images: Path, interrupted: bool = False) -> None:
    """Train all into folders below ``out``; ``interrupted``: that on studies, the encoder and the prior, midway. What
    is made of images before anything is trained lies in folders of ``images``, where it is found again."""
    stroke, healthy, bleeding, clear, labels, prepared = inputs
    until = 9 if interrupted else None
    studies, kept = find_studies([stroke, healthy]), Reconstructions(images / "kept")
    fit_study_model(FIT, studies, out / "fit", kept, stop_after=until)
    pretrain_study_model(PRETRAINING, studies, out / "pretraining", kept)
    fit_planes(PLANES, find_studies([bleeding, clear]), out / "planes", kept)
    encoder = load_encoder("recon-small")
    assert isinstance(encoder, DifferentiableEncoder)
    # A rate at which the weights leave their start, which is a candidate of what is kept.
    fit_task(replace(TASK, learning_rate=0.02), encoder, read_labels(labels), out / "task", cache=images / "volumes")
    train_encoder([stroke], out, images, until)
    train_prior(prepared, out, until)


def train_encoder(data: Sequence[Path], out: Path, images: Path, until: int | None = None) -> bool:
    """Pre-train an encoder, or continue; whether it came to its end."""
    cache = images / "heads"
    return pretrain_encoder(ENCODER, data, out / "encoder", silent, cache=cache, stop_after=until).finished


def train_prior(prepared: Path, out: Path, until: int | None = None) -> bool:
    """Train a prior, or continue; whether it came to its end."""
    scans = open_folder(prepared)
    return pretrain(PRIOR, scans, out / "prior", silent, device="cpu", stop_after=until).facts is not None

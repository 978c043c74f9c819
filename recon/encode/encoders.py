"""The table of encoders: one row each, and one module with ``load(weights, device, random_seed)`` behind each row."""

import dataclasses
import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recon.errors import ReconError

if TYPE_CHECKING:
    from recon.encode.interface import Encoder


@dataclass(frozen=True)
class EncoderRow:
    """One encoder as the table lists it; nothing is imported before it is loaded."""

    name: str
    module: str  # offers load(weights: Path | None, *, device: str, random_seed: int | None) -> Encoder
    architecture: str
    token: str  # what one token covers
    licence: str  # of the weights
    obtain: str  # what a user must get, and where
    packages: tuple[str, ...] = ()  # importable names that the optional extra brings
    ships: bool = False  # its weights come with the toolkit
    least_slices: int = 2  # 1 where a token lies within one slice, so that a single one is a volume to it
    prepared_as: str = ""  # the row whose preparation it shares, where it has none of its own


ENCODERS: tuple[EncoderRow, ...] = (
    EncoderRow(
        name="recon-small",
        module="recon.encode.latent_prediction.encoder",
        architecture="transformer over slices, 0.6 M parameters, pre-trained here by masked prediction in latent space "
        "and on simulated lesion masks",
        token="8 x 8 mm of one slice (slices at least 4 mm apart)",
        licence="Apache-2.0",
        obtain="comes with recon; another of 'recon encode pretrain' with --weights FOLDER",
        ships=True,
        least_slices=1,
    ),
    EncoderRow(
        name="neurovfm",
        module="recon.encode.neurovfm",
        architecture="3D ViT-B, 85.8 M parameters (arXiv 2511.18640)",
        token="16 x 16 x 4 voxels of 1 x 1 x 4 mm",
        licence="CC-BY-NC-SA-4.0 (code MIT)",
        obtain="request access at huggingface.co/mlinslab/neurovfm-encoder, then 'hf download "
        "mlinslab/neurovfm-encoder --local-dir FOLDER' and --weights FOLDER (config.json and pytorch_model.bin)",
    ),
    EncoderRow(
        name="brainiac",
        module="recon.encode.brainiac",
        architecture="3D ViT-B of MONAI on 96^3, 88.4 M parameters (BrainIAC)",
        token="1/6 of the field of view along each axis",
        licence="non-commercial",
        obtain="checkpoint from github.com/AIM-KannLab/BrainIAC, then --weights FILE; skull-stripped heads",
        packages=("monai", "einops"),
    ),
    EncoderRow(
        name="brainsegfounder",
        module="recon.encode.brainsegfounder",
        architecture="encoder of MONAI's SwinUNETR, feature size 48, 8.1 M parameters (BrainSegFounder)",
        token="32 x 32 x 32 mm",
        licence="UK Biobank terms",
        obtain="one-contrast checkpoint from github.com/lab-smile/BrainSegFounder, then --weights FILE",
        packages=("monai", "einops"),
    ),
    EncoderRow(
        name="dinov3",
        module="recon.encode.dinov3",
        architecture="2D ViT on slices (DINOv3, natural images)",
        token="16 x 16 mm of one slice",
        licence="DINOv3 License",
        obtain="request access at huggingface.co/facebook/dinov3-vits16-pretrain-lvd1689m, then 'hf download "
        "facebook/dinov3-vits16-pretrain-lvd1689m --local-dir FOLDER' and --weights FOLDER",
        packages=("transformers",),
    ),
    EncoderRow(
        name="hand-made",
        module="recon.encode.hand_made",
        architecture="no network: three percentiles of intensity and the left-right asymmetry, a control for probes",
        token="8 x 8 mm of one slice, as recon-small",
        licence="Apache-2.0",
        obtain="comes with recon",
        ships=True,
        least_slices=1,
        prepared_as="recon-small",
    ),
)


def find_row(name: str) -> EncoderRow:
    """The row called ``name``. Raises ReconError naming the rows that exist."""
    for row in ENCODERS:
        if row.name == name:
            return row
    raise ReconError(f"encoder '{name}': unknown; choose one of {', '.join(row.name for row in ENCODERS)}")


def choose_encoder(name: str | None) -> str:
    """``name``, or the encoder that comes with the toolkit. Raises ReconError when there is none of either."""
    if name is not None:
        return find_row(name).name
    for row in ENCODERS:
        if row.ships:
            return row.name
    raise ReconError(f"no encoder given; choose one with --encoder: {', '.join(row.name for row in ENCODERS)}")


def missing_packages(row: EncoderRow) -> list[str]:
    """Packages of the optional extra that are not installed here."""
    return [package for package in row.packages if importlib.util.find_spec(package) is None]


def load_encoder(
    name: str,
    weights: str | Path | None = None,
    *,
    device: str = "cpu",
    random_seed: int | None = None,
    precision: str = "fp32",
) -> "Encoder":
    """Load one encoder of the table, or its random-init control when ``random_seed`` is given.

    ``weights`` is the folder (or file) that its row describes; a shipped encoder needs none. ``precision`` is fp32,
    or bf16 (autocast) for encoders that have a field of that name.

    Raises ReconError for an unknown name, a missing extra, missing or partial weights.
    """
    from recon.reconstruction.machine import chosen_device

    row = find_row(name)
    absent = missing_packages(row)
    if absent:
        raise ReconError(
            f"encoder '{name}': needs {', '.join(absent)}, not installed here; pip install 'recon[encoders]'"
        )
    chosen_device(device)
    if weights is None and random_seed is None and not row.ships:
        raise ReconError(f"encoder '{name}': no weights given; {row.obtain}")
    if weights is not None and random_seed is None and not Path(weights).exists():
        raise ReconError(f"{weights}: no such file or folder, and nothing is downloaded; {row.obtain}")
    module = importlib.import_module(row.module)
    encoder: Encoder = module.load(None if weights is None else Path(weights), device=device, random_seed=random_seed)
    if precision == "fp32":
        return encoder
    if precision != "bf16" or not any(field.name == "precision" for field in dataclasses.fields(encoder)):  # type: ignore[arg-type]
        raise ReconError(f"encoder '{name}': precision '{precision}' is not offered; use fp32")
    return dataclasses.replace(encoder, precision=precision)  # type: ignore[type-var]

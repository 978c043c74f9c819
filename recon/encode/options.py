"""What a user chooses about encoders and about the volumes that go into them: flags of the commands that encode."""

from dataclasses import dataclass
from typing import Literal

from recon.options import option
from recon.scans.options import read_voxel_size


@dataclass(frozen=True)
class EncoderChoice:
    """An encoder of the table, its weights, and where and how it computes."""

    encoder: str | None = option(
        None, "See 'recon encode list'. Default: the one that comes with recon.", metavar="NAME"
    )
    weights: str | None = option(
        None, "Weights of the encoder, where they do not come with recon: folder or file.", metavar="FOLDER|FILE"
    )
    random_init: int | None = option(
        None, "Use random weights drawn from this seed instead: a control, or to try things.", metavar="SEED"
    )
    precision: Literal["fp32", "bf16"] = option("fp32", "Arithmetic of the encoder.")
    device: str = option("cpu", "cpu, cuda, cuda:1 ...")


@dataclass(frozen=True)
class VolumeReading:
    """How volumes are placed in space before an encoder takes them."""

    slice_axis: str = option(
        "header",
        "Axis of the reference taken as slice direction: from its header (largest spacing), by NeuroVFM's own size "
        "rule, or as given.",
        metavar="header|upstream|0|1|2",
    )
    voxel_size: tuple[float, float, float] | None = option(
        None, "Voxel size in mm (readout,phase,slice) for files that have no affine.", metavar="R,P,S",
        read=read_voxel_size,
    )  # fmt: skip
    resample: bool = option(
        False, "Interpolate reconstructions that lie on another grid onto the reference's.", flag="--resample"
    )


@dataclass(frozen=True)
class NoiseReplicas:
    """Draws of the scan's own noise, for what noise alone does to a study's scores."""

    seed: int = option(0, "Seed of the noise replicas and of the random-init control.")
    replicas: int = option(4, "Noise-only replicas of the study; 0 for none.", minimum=0)
    snr: float | None = option(
        None,
        "The scan's SNR (mean signal over noise per real component). Default: as stored, else estimated.",
    )


@dataclass(frozen=True)
class DriftOptions(NoiseReplicas):
    """What a drift is measured with."""

    replicas: int = option(8, "Noise-only replicas of the reference.", minimum=2)
    max_samples: int = option(8, "Posterior samples to embed.", minimum=0)
    preprocessing: Literal["reference", "own"] = option(
        "reference",
        "reference: geometry, mask and intensity map are the reference's; own: each volume makes its own, as upstream "
        "does, which measures mostly the mask.",
    )

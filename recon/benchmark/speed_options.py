"""What a measurement of the machine runs: one declaration for the library and the command line."""

from dataclasses import dataclass

from recon.options import check_minimums, option
from recon.simulate.options import read_matrix


@dataclass(frozen=True)
class SpeedOptions:
    """A simulated scan, the prior or an untrained network of a recipe, and a few steps of training."""

    size: tuple[int, int] = option(
        (320, 320), "Matrix: one number, or readout,phase.", metavar="N or N,N", read=read_matrix
    )
    coils: int = option(16, "Receive coils, none of them compressed away.", minimum=1)
    slices: int = option(4, "Slices that are timed, after one that is not.", minimum=1)
    acceleration: float = option(2.0, "Acceleration.", minimum=1)
    recipe: str | None = option(
        None,
        "Training recipe whose network is timed untrained, and trained for a few steps: cpu, fastmri-brain, or a YAML "
        "file. By default: fastmri-brain on a GPU, cpu on a processor.",
        metavar="FILE",
    )
    training_steps: int = option(4, "Training steps that are timed, after two that are not.", minimum=1)
    training_batch: int | None = option(
        None, "Images of a training step. By default: the recipe's on a GPU, at most 8 on a processor.", minimum=1
    )
    compiled: bool = option(False, "Time the network compiled by torch, too.", flag="--compiled")
    seed: int = option(0, "Seed of the scan, the samples and the untrained network.")

    def __post_init__(self) -> None:
        check_minimums(self)
        if not self.acceleration <= 16:
            raise ValueError("acceleration must be at most 16")

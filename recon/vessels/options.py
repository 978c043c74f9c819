"""Simulated vessel trees, and how their graphs are traced and pruned: one declaration for library and command line."""

from dataclasses import dataclass

from recon.options import check_minimums, option


@dataclass(frozen=True)
class TreeOptions:
    """A simulated time-of-flight slab: lengths in mm; voxels are 1 mm."""

    size: int = option(96, "Matrix in the slice.", minimum=48)
    slices: int = option(24, "Slices of 1 mm.", minimum=12)
    coils: int = option(6, "Receive coils.", minimum=1)
    snr: float = option(20.0, "Signal of a wide vessel over the noise of the combined coils.", minimum=1)
    root_radius: float = option(1.6, "Radius in mm of the arteries that enter the slab.", minimum=0.5)
    smallest_radius: float = option(0.4, "Radius in mm below which no branch goes on.", minimum=0.1)
    seed: int = option(0, "The same seed gives the same trees.")

    def __post_init__(self) -> None:
        check_minimums(self)
        if self.smallest_radius >= self.root_radius:
            raise ValueError("smallest_radius must be below root_radius")


# A model folder states its options: what it may ask for.
MOST = {"epochs": 10_000, "width": 256, "heads": 16, "repeats": 100_000}


@dataclass(frozen=True)
class PruningOptions:
    """Tracing, which takes too much on purpose, and training."""

    contrast: float = option(
        0.12, "Vesselness above which a voxel is traced, as a share of its 99.9th percentile.", minimum=0.001
    )
    epochs: int = option(60, "Passes of the graph attention network over the graphs.", minimum=1)
    width: int = option(16, "Features of each of its attention heads.", minimum=1)
    heads: int = option(2, "Attention heads.", minimum=1)
    repeats: int = option(2000, "Bootstrap resamples of persons.", minimum=100)
    seed: int = option(0, "Seed of the training and of the bootstrap.")

    def __post_init__(self) -> None:
        check_minimums(self)
        for name, most in MOST.items():
            if getattr(self, name) > most:
                raise ValueError(f"{name} must be at most {most}")
        if not self.contrast < 1:
            raise ValueError("contrast must be below 1")

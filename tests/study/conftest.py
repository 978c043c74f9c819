"""Four persons' simulated studies, so small that a model is fitted in a second."""

from pathlib import Path

import pytest

from recon.simulate.cohort import simulate_cohort
from recon.simulate.options import SimulationOptions
from recon.study.images import Reconstructions
from recon.study.options import GridOptions, NetworkOptions, StudyFitOptions
from recon.study.preparation import prepared_studies
from recon.study.table import Study, find_studies
from recon.study.volume import StudyVolume

SMALL = StudyFitOptions(
    network=NetworkOptions(width=16, depth=1, heads=2, slab=1, code=2, stem=4),
    grid=GridOptions(pixel=5.0, matrix=(40, 40)),
    contrasts=("FLAIR", "DWI", "ADC"),
    samples=16,
    batch=4,
    held_out_fraction=0.0,
    checkpoint_samples=4,
)


@pytest.fixture(scope="session")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Four persons with a stroke, and the same four without."""
    folder = tmp_path_factory.mktemp("studies")
    for name, stroke in (("stroke", True), ("healthy", False)):
        options = SimulationOptions(
            size=(48, 44), coils=4, slices=3, snr=40.0, seed=3, stroke=stroke, stage="acute" if stroke else None
        )
        simulate_cohort(folder / name, 4, ("FLAIR", "DWI", "DWI-B0"), options)
    return folder / "stroke", folder / "healthy"


@pytest.fixture(scope="session")
def both_planes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Three persons with a haemorrhage, and the same three without, in axial and sagittal slices."""
    folder = tmp_path_factory.mktemp("planes")
    for name, stroke in (("bleeding", True), ("clear", False)):
        options = SimulationOptions(
            size=(48, 48), coils=2, slices=3, snr=40.0, seed=3, stroke=stroke, plane="both",
            stroke_kind="haemorrhage" if stroke else "infarct",
        )  # fmt: skip
        simulate_cohort(folder / name, 3, ("FLAIR", "T2STAR"), options)
    return folder / "bleeding", folder / "clear"


@pytest.fixture(scope="session")
def studies(cohorts: tuple[Path, Path]) -> list[Study]:
    return find_studies(cohorts)


@pytest.fixture(scope="session")
def reconstructions(tmp_path_factory: pytest.TempPathFactory) -> Reconstructions:
    return Reconstructions(tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="session")
def volumes(studies: list[Study], reconstructions: Reconstructions) -> list[StudyVolume]:
    return prepared_studies(studies, reconstructions, SMALL.grid)

"""Long work of the encoders reports ``(stage, fraction)``: fractions of the whole call that never fall."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recon.encode.drift import measure_drift, view_reference
from recon.encode.dx import compare_study
from recon.encode.encoders import load_encoder
from recon.encode.latent_prediction.options import PretrainingOptions, TransformerOptions
from recon.encode.latent_prediction.recipe import pretrain_encoder
from recon.encode.neurovfm import NeuroVFM
from recon.encode.neurovfm_head import load_head
from recon.encode.options import DriftOptions, NoiseReplicas
from recon.encode.probes.labels import LabelledVolume, LabelTable
from recon.encode.probes.store import embed_table
from recon.encode.volumes import Series, read_series
from recon.errors import ReconError
from recon.header import pseudonym
from tests.encode.conftest import AFFINE, make_head, save_nifti

BLOCKS = 2


class Heard:
    """Every report of a call."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.fractions: list[float] = []

    def __call__(self, stage: str, fraction: float) -> None:
        self.stages.append(stage)
        self.fractions.append(fraction)

    def check(self, least: int) -> None:
        """So many reports, in order, within 0 and 1."""
        assert len(self.fractions) >= least
        assert self.fractions == sorted(self.fractions)
        assert min(self.fractions) >= 0
        assert max(self.fractions) <= 1


@pytest.fixture
def series() -> Series:
    head = make_head(0)
    return Series(Path("reference"), head, AFFINE, "made here", samples=np.stack([head, head]), noise_std=0.02)


def test_drift(series: Series) -> None:
    encoder, options = load_encoder("recon-small"), DriftOptions(replicas=3)
    viewed, measured = Heard(), Heard()
    view = view_reference(encoder, series, options, report=viewed)
    measure_drift(series, view, view, options, report=measured)
    viewed.check(4)
    measured.check(4)
    assert viewed.fractions[-1] == 1
    assert measured.stages == ["reconstruction", "posterior samples", "posterior samples", "random-init control"]
    with pytest.raises(ReconError, match="at least 2"):
        view_reference(encoder, series, DriftOptions(replicas=1))


@pytest.mark.parametrize("replicas", [0, 2])
def test_a_study(encoder: NeuroVFM, series: Series, head_folder: Path, replicas: int) -> None:
    heard = Heard()
    names = {"FLAIR": series, "DWI": replace(series, values=make_head(5))}
    compare_study(encoder, load_head(head_folder), names, names, NoiseReplicas(0, replicas), report=heard)
    heard.check(2 + replicas)
    assert heard.stages[:2] == ["series FLAIR", "series DWI"]


def test_embedding_a_table(tmp_path: Path) -> None:
    files = [save_nifti(tmp_path / f"{index}.nii.gz", make_head(index)) for index in range(3)]
    entries = tuple(
        LabelledVolume(
            file, str(number), str(number), 1.0, "", {"lesion": number % 2},
            {"study": "examination 7", "series": "FLAIR axial"} if number else {},
        )
        for number, file in enumerate(files)
    )  # fmt: skip
    heard = Heard()
    encoder = load_encoder("recon-small")
    found = embed_table(encoder, LabelTable(entries, ("lesion",)), heard)
    assert heard.fractions == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1]
    assert found.fact("series") == ("", "FLAIR axial", "FLAIR axial")
    assert found.fact("study")[1] == found.fact("study")[2] == pseudonym("examination 7")
    # Places are those of the volume: a token is bright where the image is.
    series = read_series(files[0])
    inverse = np.linalg.inv(series.affine)
    index = found.coordinates[0] @ inverse[:3, :3].T + inverse[:3, 3]
    assert found.coordinates[0].shape == (len(found.tokens[0]), 3)
    assert (index > -20).all()
    assert (index < np.array(series.values.shape) + 20).all()
    prepared = encoder.prepare(series.pixels, series.affine)
    last = prepared.token_to_world @ [*prepared.coords[-1].tolist(), 1]
    assert np.allclose(found.coordinates[0][-1], last[:3], atol=1e-3)


@pytest.mark.filterwarnings("ignore:.*person of its own:recon.errors.ReconWarning")
def test_a_pretraining_that_continues_begins_where_it_was(tmp_path: Path) -> None:
    """Volumes that are kept from before are no work of this run, so its remaining time is not spoilt by them."""
    heads = tmp_path / "heads"
    heads.mkdir()
    for index in range(3):
        save_nifti(heads / f"{index}.nii.gz", make_head(index))
    options = PretrainingOptions(
        network=TransformerOptions(width=16, depth=1, heads=2), tokens=40, batch=4, samples=16, target_layers=1,
        held_out_fraction=0.0, least_rank=0.0, least_deviation=0.0,
    )  # fmt: skip
    first, second = Heard(), Heard()
    assert not pretrain_encoder(options, [heads], tmp_path / "out", first, stop_after=8).finished
    assert pretrain_encoder(options, [heads], tmp_path / "out", second).finished
    for heard in (first, second):
        heard.check(3)
    assert first.stages[0] == "preparing volumes"
    assert set(second.stages) == {"training"}
    assert second.fractions[0] == first.fractions[-1] > 0.5
    assert second.fractions[-1] == 1

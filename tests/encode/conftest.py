"""A small head with known geometry, and encoder networks that are drawn once a session."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from recon.encode import neurovfm
from recon.encode.neurovfm import NeuroVFM
from recon.encode.neurovfm_head import DiagnosticNetwork, HeadShape
from recon.encode.neurovfm_network import NeuroVFMNetwork, random_network

STROKE = ["acute_ischemic_stroke", "chronic_ischemic_stroke", "lacunar_stroke", "small_vessel_ischemic_disease"]
SHAPE = (64, 80, 12)
AFFINE = np.array([[-1.0, 0, 0, 32], [0, -1.0, 0, 40], [0, 0, 4.0, -22], [0, 0, 0, 1]])


def make_head(seed: int = 0, background: float = 0.02) -> np.ndarray:
    """Magnitude [64, 80, 12], about 0 to 1: a textured ellipsoid in noisy air, voxels of 1 x 1 x 4 mm."""
    generator = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = x**2 / 0.8 + y**2 / 0.85 + z**2 / 1.6 < 1
    texture = gaussian_filter(generator.standard_normal(x.shape), (4, 4, 1))
    head = inside * (0.6 + 0.15 * texture / texture.std())
    noise = background * generator.standard_normal((2, *x.shape))
    return np.hypot(head + noise[0], noise[1]).astype(np.float32)


@pytest.fixture(scope="session")
def head() -> np.ndarray:
    return make_head()


@pytest.fixture(scope="session")
def affine() -> np.ndarray:
    return AFFINE.copy()


@pytest.fixture(scope="session")
def networks() -> dict[tuple[int, int], NeuroVFMNetwork]:
    """NeuroVFM networks by random seed and number of blocks, drawn when first asked for."""
    return {}


@pytest.fixture(autouse=True)
def _drawn_once(
    request: pytest.FixtureRequest,
    networks: dict[tuple[int, int], NeuroVFMNetwork],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tests share random-init networks instead of drawing 86 million numbers each; a module that is about what is done
    with tokens, not about the network, says BLOCKS = 2 and gets only the first blocks."""
    blocks = getattr(request.module, "BLOCKS", 12)

    def cached(generator: torch.Generator) -> NeuroVFMNetwork:
        key = (generator.initial_seed(), blocks)
        if key not in networks:
            networks[key] = random_network(generator)
            del networks[key].blocks[blocks:]
        return networks[key]

    monkeypatch.setattr(neurovfm, "random_network", cached)


@pytest.fixture
def encoder() -> NeuroVFM:
    return neurovfm.load(None, random_seed=0)


@pytest.fixture
def control() -> NeuroVFM:
    return neurovfm.load(None, random_seed=1)


@pytest.fixture(scope="session")
def head_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diagnostic head of 74 labels with random weights, in upstream's layout."""
    folder = tmp_path_factory.mktemp("head")
    torch.manual_seed(0)
    network = DiagnosticNetwork(HeadShape(74))
    with torch.no_grad():
        network.output_bias.normal_()
        network.output_scale.uniform_(0.5, 2)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text('{"which": "classify_then_aggregate", "params": {"W_out": 74}}')
    names = [f"finding_{index}" for index in range(70)]
    (folder / "label_names.txt").write_text("\n".join([*names[:30], *STROKE, *names[30:]]) + "\n")
    return folder


def save_nifti(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    image = nibabel.Nifti1Image(values, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    nibabel.save(image, path)
    return path

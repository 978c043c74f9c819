"""Encoders of other shapes, with random weights: places of tokens, preprocessing, strict loading. They need optional
extras."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.ndimage import gaussian_filter

from recon.encode.distance import Drift
from recon.encode.encoders import load_encoder
from recon.encode.interface import Encoder, PreparedVolume
from recon.encode.weights import read_part
from recon.errors import ReconError

# MONAI warns of its own use of torch and numpy; its warnings are not ours to fix.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.slow
def test_brainiac_s_shape(head: np.ndarray, affine: np.ndarray) -> None:
    pytest.importorskip("monai", reason="monai is not installed (extra: encoders)")
    encoder = load_encoder("brainiac", random_seed=0)
    assert isinstance(encoder, Encoder)
    assert sum(parameter.numel() for parameter in encoder.network.parameters()) == 88_359_168  # type: ignore[attr-defined]
    stripped = np.where(head > 0.2, head, 0)
    prepared = encoder.prepare(stripped, affine)
    assert prepared.inputs.shape == (1, 1, 96, 96, 96)
    assert prepared.token_size == pytest.approx((64 / 6, 80 / 6, 8))  # 64 x 80 x 48 mm in six parts each
    inside = prepared.inputs[0, 0][torch.from_numpy(prepared.preprocessing.foreground)]
    assert float(inside.mean()) == pytest.approx(0, abs=1e-4)
    assert float(inside.std()) == pytest.approx(1, abs=1e-3)
    reference = encoder.encode(prepared)
    assert reference.tokens.shape == (len(prepared.coords), 768)
    _check_lock_and_drift(encoder, stripped, affine, prepared, reference)
    _check_places(prepared, head)


def test_brainsegfounder_s_shape(head: np.ndarray, affine: np.ndarray) -> None:
    pytest.importorskip("monai", reason="monai is not installed (extra: encoders)")
    encoder = load_encoder("brainsegfounder", random_seed=0)
    assert sum(parameter.numel() for parameter in encoder.network.parameters()) == 8_062_002  # type: ignore[attr-defined]
    prepared = encoder.prepare(head, affine)
    assert prepared.preprocessing.grid_shape == (96, 96, 96)  # 64 x 80 x 48 mm, padded
    assert prepared.inputs.shape == (1, 1, 96, 96, 96)
    assert prepared.token_size == pytest.approx((32, 32, 32))
    _check_places(prepared, head)


@pytest.mark.slow
def test_brainsegfounder_encodes(head: np.ndarray, affine: np.ndarray) -> None:
    pytest.importorskip("monai", reason="monai is not installed (extra: encoders)")
    encoder = load_encoder("brainsegfounder", random_seed=0)
    prepared = encoder.prepare(head, affine)
    reference = encoder.encode(prepared)
    assert reference.tokens.shape == (len(prepared.coords), 768)
    _check_lock_and_drift(encoder, head, affine, prepared, reference)


def test_dinov3_loads_a_transformers_folder_strictly(head: np.ndarray, affine: np.ndarray, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: encoders)")
    config = transformers.DINOv3ViTConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_register_tokens=4
    )
    torch.manual_seed(0)
    model = transformers.DINOv3ViTModel(config).eval()
    model.save_pretrained(tmp_path)
    encoder = load_encoder("dinov3", tmp_path)
    prepared = encoder.prepare(head, affine)
    assert prepared.inputs.shape == (12, 3, 80, 64)
    assert prepared.token_size == pytest.approx((4, 16, 16))
    reference = encoder.encode(prepared)
    assert reference.tokens.shape == (len(prepared.coords), 32)
    _check_lock_and_drift(encoder, head, affine, prepared, reference)
    _check_places(prepared, head)
    # Tokens against the model itself: the first slice's patches follow class and register tokens, row by row.
    with torch.inference_mode():
        hidden = model(pixel_values=prepared.inputs[:4]).last_hidden_state
    first = int(prepared.coords[0, 0])
    expected = hidden[first, 5:].reshape(5, 4, 32)[tuple(prepared.coords[prepared.coords[:, 0] == first][:, 1:].T)]
    assert torch.allclose(reference.tokens[: len(expected)], expected, atol=1e-5)
    tensors = load_file(tmp_path / "model.safetensors")
    weight = tensors.pop("norm.weight")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ReconError, match=r"1 missing \(norm.weight\)"):
        load_encoder("dinov3", tmp_path)
    save_file({**tensors, "norm.weight": weight[:5]}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ReconError, match="nothing was loaded"):
        load_encoder("dinov3", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ReconError, match="not 'dinov3_vit'"):
        load_encoder("dinov3", tmp_path)


def test_the_encoder_s_part_of_a_checkpoint_is_taken(tmp_path: Path) -> None:
    torch.save({"state_dict": {"backbone.a": torch.ones(1), "head.b": torch.ones(1)}}, tmp_path / "whole.pt")
    assert list(read_part(tmp_path / "whole.pt", ("backbone.",))) == ["a"]
    assert list(read_part(tmp_path / "whole.pt", ("encoder.",))) == ["backbone.a", "head.b"]


def _check_lock_and_drift(
    encoder: Encoder, values: np.ndarray, affine: np.ndarray, prepared: PreparedVolume, reference
) -> None:
    assert torch.equal(encoder.encode(prepared).tokens, reference.tokens)
    blurred = np.where(values > 0, gaussian_filter(values, (2, 2, 0)), 0)
    locked = encoder.prepare(blurred, affine, prepared.preprocessing)
    assert torch.equal(locked.coords, prepared.coords)
    drift = Drift.between(reference, encoder.encode(locked))
    assert 0 < drift.token_distance < 1
    assert Drift.between(reference, reference).token_distance == 0
    with pytest.raises(ReconError, match="single slice"):
        encoder.prepare(values[..., :1], affine)


def _check_places(prepared: PreparedVolume, head: np.ndarray) -> None:
    """Tokens lie around the head's centre of mass, which is the origin of this affine to a few millimetres."""
    places = prepared.token_to_world @ np.vstack([prepared.coords.numpy().T, np.ones(len(prepared.coords))])
    assert np.abs(places[:3].mean(axis=1)).max() < 10
    assert np.all(np.abs(places[:3]).max(axis=1) < (56, 64, 40))

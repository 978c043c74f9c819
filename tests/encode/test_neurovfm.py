"""NeuroVFM: published counts, an independent forward pass, exact repetition, strict and safe weights, the head."""

import itertools
import json
import pickle
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import save_file

from recon.encode import neurovfm
from recon.encode.encoders import load_encoder
from recon.encode.interface import Embedding, Encoder
from recon.encode.neurovfm import NeuroVFM
from recon.encode.neurovfm_head import (
    STROKE_FAMILY,
    DiagnosticNetwork,
    HeadShape,
    load_head,
    ordered_labels,
    shipped_labels,
)
from recon.encode.neurovfm_network import NeuroVFMNetwork, position_code
from recon.encode.neurovfm_preprocessing import MEAN, STANDARD_DEVIATION, prepare_neurovfm
from recon.encode.weights import check_tensors, read_tensors
from recon.errors import ReconError


def test_parameters_and_tensors_are_the_published_ones(encoder: NeuroVFM) -> None:
    tensors = encoder.network.state_dict()
    assert len(tensors) == 136
    assert sum(tensor.numel() for tensor in tensors.values()) == 85_803_234
    for labels, count in ((82, 952_264), (74, 946_088)):
        assert sum(parameter.numel() for parameter in DiagnosticNetwork(HeadShape(labels)).parameters()) == count
    assert isinstance(encoder, Encoder)


def test_doctor_counts_them(run_cli) -> None:
    found = run_cli("encode", "doctor", "--encoder", "neurovfm", "--random-init", "0", "--json").json
    assert (found["parameters"], found["tensors"]) == (85_803_234, 136)


def test_position_code_is_the_closed_form() -> None:
    coords = torch.tensor([[0, 0, 0], [3, 7, 11]])
    code = position_code(coords).numpy()
    for axis, k in itertools.product(range(3), range(5)):
        angle = coords[1, axis].item() * 10000 ** (-2 * k / 10)
        assert code[1, 10 * axis + 2 * k] == pytest.approx(np.sin(angle), abs=1e-6)
        assert code[1, 10 * axis + 2 * k + 1] == pytest.approx(np.cos(angle), abs=1e-6)
    assert np.array_equal(code[0], [0, 1] * 15)


def explicit_forward(network: NeuroVFMNetwork, patches: np.ndarray, coords: torch.Tensor) -> np.ndarray:
    """The specification written out in numpy float64: a second implementation to test the first against."""
    weights = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(axis=-1, keepdims=True)
        return (
            x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * weights[f"{name}.weight"]
            + weights[f"{name}.bias"]
        )

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)

    x = np.concatenate([linear(patches, "token_embed.proj"), position_code(coords).double().numpy()], axis=-1)
    for i in range(12):
        query, key, value = (
            linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.mixer.qkv").reshape(-1, 3, 12, 64).transpose(1, 2, 0, 3)
        )
        score = query @ key.transpose(0, 2, 1) / 8
        attention = np.exp(score - score.max(axis=-1, keepdims=True))
        mixed = (attention / attention.sum(axis=-1, keepdims=True)) @ value
        x = x + linear(mixed.transpose(1, 0, 2).reshape(len(x), -1), f"blocks.{i}.mixer.proj")
        hidden = linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1")
        hidden = hidden / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
        x = x + linear(hidden, f"blocks.{i}.mlp.fc2")
    return norm(x, "norm")


def test_forward_pass_is_the_specification_s(encoder: NeuroVFM) -> None:
    patches = np.random.default_rng(0).standard_normal((24, 1024))
    coords = torch.from_numpy(np.argwhere(np.ones((2, 3, 4))))
    prepared = replace(_prepared(24), inputs=torch.from_numpy(patches).float(), coords=coords)
    expected = explicit_forward(encoder.network, patches, coords)
    found = encoder.encode(prepared).tokens.numpy()
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-5


def test_same_bits_twice_and_chunked_attention(encoder: NeuroVFM) -> None:
    prepared = _prepared(24)
    once = encoder.encode(prepared).tokens
    assert torch.equal(once, encoder.encode(prepared).tokens)
    for chunk in (5, 17):
        chunked = encoder.features(prepared, chunk=chunk)[0]
        assert float((chunked - once).norm() / once.norm()) < 1e-6


def test_bf16_is_close_and_a_wrong_precision_refused(encoder: NeuroVFM) -> None:
    prepared = _prepared(12)
    full, half = encoder.encode(prepared).tokens, replace(encoder, precision="bf16").encode(prepared).tokens
    assert half.dtype == torch.float32
    assert 1e-5 < float((half - full).norm() / full.norm()) < 0.05
    with pytest.raises(ReconError, match="fp16"):
        load_encoder("neurovfm", random_seed=0, precision="fp16")


def test_preparation_step_by_step(head: np.ndarray, affine: np.ndarray) -> None:
    """Axes R, P, I at 1 x 1 x 4 mm: no interpolation is needed here, so each step can be redone by hand."""
    prepared = prepare_neurovfm(head, affine)
    grid = head[::-1, :, ::-1].transpose(2, 1, 0)  # L, P, S -> I, P, R
    assert prepared.preprocessing.grid_shape == (12, 80, 64)
    foreground = grid > np.percentile(grid, 10)
    low, high = np.percentile(grid, (0.5, 99.5))
    assert prepared.preprocessing.intensity == pytest.approx((low, high), rel=1e-4)
    values = ((np.clip(grid, low, high) - low) / (high - low) - MEAN) / STANDARD_DEVIATION
    rows = []
    for d, h, w in itertools.product(range(3), range(5), range(4)):
        block = (slice(4 * d, 4 * d + 4), slice(16 * h, 16 * h + 16), slice(16 * w, 16 * w + 16))
        if foreground[block].all():
            rows.append(((d, h, w), values[block].ravel()))
    assert [tuple(place) for place in prepared.coords.tolist()] == [place for place, _ in rows]
    assert np.abs(prepared.inputs.numpy() - np.stack([row for _, row in rows])).max() < 1e-4
    assert 0 < len(rows) < prepared.mask.size


def test_a_lock_fixes_tokens_and_intensities(head: np.ndarray, affine: np.ndarray) -> None:
    preprocessing = prepare_neurovfm(head, affine).preprocessing
    doubled = prepare_neurovfm(2 * head, affine, preprocessing)
    assert np.array_equal(doubled.mask, prepare_neurovfm(head, affine).mask)
    assert doubled.preprocessing is preprocessing
    with pytest.raises(ReconError, match="different grids"):
        prepare_neurovfm(head[..., :-1], affine, preprocessing)
    with pytest.raises(ReconError, match="other"):
        prepare_neurovfm(head, affine, replace(preprocessing, encoder="other"))
    with pytest.raises(ReconError, match="slice axis 5"):
        prepare_neurovfm(head, affine, slice_axis=5)


def test_no_token_left_is_an_error(encoder: NeuroVFM, head: np.ndarray, affine: np.ndarray) -> None:
    noise = np.random.default_rng(0).random(head.shape)
    with pytest.raises(ReconError, match="no token left"):
        encoder.encode(encoder.prepare(noise, affine))


def test_weights_load_strictly_with_bf16_parts(
    encoder: NeuroVFM, tmp_path: Path, head: np.ndarray, affine: np.ndarray
) -> None:
    """As the public weights are stored: qkv and proj in bf16, the rest in fp32."""
    stored = {
        name: tensor.bfloat16() if "mixer" in name else tensor for name, tensor in encoder.network.state_dict().items()
    }
    torch.save(stored, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({"embed_dim": 768, "normalization_stats": [[0.5], [0.25]]}))
    loaded = load_encoder("neurovfm", tmp_path)
    assert re.fullmatch("[0-9a-f]{64}", loaded.weights_hash)
    for name, tensor in loaded.network.state_dict().items():  # type: ignore[attr-defined]
        assert torch.equal(tensor, stored[name].float()), name
    assert loaded.prepare(head, affine).inputs.max() == pytest.approx(2, abs=1e-5)  # (1 - 0.5) / 0.25
    (tmp_path / "config.json").write_text('{"depth": 24}')
    with pytest.raises(ReconError, match="depth 24"):
        load_encoder("neurovfm", tmp_path)


def test_partial_unknown_and_misshapen_tensors_are_refused_in_one_line() -> None:
    with torch.device("meta"):
        network = NeuroVFMNetwork()
    tensors = {name: torch.ones(()).expand(tensor.shape) for name, tensor in network.state_dict().items()}
    check_tensors(network, tensors, Path("w"))
    del tensors["blocks.3.mixer.qkv.bias"]
    tensors["student.norm.weight"] = torch.zeros(1)
    tensors["norm.bias"] = torch.zeros(5)
    with pytest.raises(ReconError) as error:
        check_tensors(network, tensors, Path("w"))
    message = str(error.value)
    assert "1 missing (blocks.3.mixer.qkv.bias)" in message
    assert "1 unknown (student.norm.weight)" in message
    assert "norm.bias (5,) instead of (768,)" in message
    assert "\n" not in message


class _Evil:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("/tmp/should-never-exist-recon"),))


def test_safetensors_and_pickles_give_the_same_tensors(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2), "b": torch.randn(4).bfloat16()}
    save_file(tensors, tmp_path / "model.safetensors")
    torch.save({"state_dict": tensors}, tmp_path / "model.pt")
    for name in ("model.safetensors", "model.pt"):
        found = read_tensors(tmp_path / name)
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) for key in tensors)


def test_weight_files_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReconError, match="no such file"):
        read_tensors(tmp_path / "absent.bin")
    (tmp_path / "evil.bin").write_bytes(pickle.dumps({"norm.weight": _Evil()}))
    with pytest.raises(ReconError, match="refused"):
        read_tensors(tmp_path / "evil.bin")
    torch.save({"norm.weight": _Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ReconError, match="refused"):
        read_tensors(tmp_path / "evil.pt")
    assert not Path("/tmp/should-never-exist-recon").exists()
    save_file({"a": torch.zeros(100)}, tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:200])
    with pytest.raises(ReconError, match="truncated"):
        read_tensors(tmp_path / "cut.safetensors")
    torch.save({"a": torch.zeros(5000)}, tmp_path / "cut.bin")
    (tmp_path / "cut.bin").write_bytes((tmp_path / "cut.bin").read_bytes()[:800])
    with pytest.raises(ReconError, match=r"truncated|refused"):
        read_tensors(tmp_path / "cut.bin")
    torch.save({"a": torch.tensor([1.0, float("nan")])}, tmp_path / "nan.bin")
    with pytest.raises(ReconError, match="NaN"):
        read_tensors(tmp_path / "nan.bin")
    torch.save({"epoch": 3}, tmp_path / "none.bin")
    with pytest.raises(ReconError, match="no tensor"):
        read_tensors(tmp_path / "none.bin")


def test_folders_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReconError, match="neither a folder"):
        neurovfm.load(tmp_path / "absent")
    with pytest.raises(ReconError, match=r"config.json: no such file"):
        neurovfm.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ReconError, match="no weights here"):
        neurovfm.load(tmp_path)
    torch.save({"norm.weight": torch.ones(768)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ReconError, match="135 missing"):
        neurovfm.load(tmp_path)
    with pytest.raises(ReconError, match="request access"):
        load_encoder("neurovfm")
    with pytest.raises(ReconError, match=r"choose one of .*neurovfm"):
        load_encoder("neuroVFM2")


def test_head_is_an_exact_sum_over_tokens_of_all_series(head_folder: Path) -> None:
    head = load_head(head_folder)
    generator = torch.Generator().manual_seed(1)
    series = [_embedding(torch.randn(count, 768, generator=generator)) for count in (30, 50)]
    scores = head.score(series)
    total = sum(part.sum(dim=0) for part in scores.contributions) + scores.bias
    assert torch.equal(total, scores.logits) or float((total - scores.logits).abs().max()) < 1e-12
    with torch.inference_mode():
        logits = _published_logits(head.network.double(), torch.cat([one.tokens for one in series]).double())
    assert float((logits - scores.logits).abs().max()) < 1e-5
    with pytest.raises(ReconError, match="768 features"):
        head.score([_embedding(torch.zeros(4, 384))])


def _published_logits(network: DiagnosticNetwork, tokens: torch.Tensor) -> torch.Tensor:
    # The published formula, written out: scale_c * sum_i softmax_i(score_ic) h_ic + bias_c.
    normed = network.norm_attn(tokens)
    gate = torch.tanh(network.attention_V(normed)) * torch.sigmoid(network.gating_V(normed))
    attention = torch.exp(network.W(gate))
    attention = attention / attention.sum(dim=0)
    pooled = (attention * network.mlp(network.norm_mlp(tokens))).sum(dim=0)
    return network.output_scale * pooled + network.output_bias


def test_stroke_comes_first_and_labels_are_checked(head_folder: Path, tmp_path: Path) -> None:
    head = load_head(head_folder)
    order = ordered_labels(head.labels)
    assert [head.labels[index] for index in order[:4]] == [
        "acute_ischemic_stroke",
        "chronic_ischemic_stroke",
        "lacunar_stroke",
        "small_vessel_ischemic_disease",
    ]
    assert sorted(order) == list(range(74))
    assert set(head.thresholds) == {0.0}
    with pytest.raises(ReconError, match="acute_ischemic_stroke"):
        head.index("stroke")
    for name in ("config.json", "pytorch_model.bin"):
        (tmp_path / name).write_bytes((head_folder / name).read_bytes())
    assert load_head(tmp_path).labels_from.startswith("shipped with recon")
    (tmp_path / "label_names.txt").write_text("a\nb\n")
    with pytest.raises(ReconError, match="2 different label names for a head of 74"):
        load_head(tmp_path)
    (tmp_path / "config.json").write_text('{"which": "aggregate_then_classify"}')
    with pytest.raises(ReconError, match="aggregate_then_classify"):
        load_head(tmp_path)


def test_the_names_of_the_public_head_come_with_recon(head_folder: Path, tmp_path: Path) -> None:
    """Upstream's 74 names in its order, told by their digest; names beside the weights go before them."""
    names = shipped_labels()
    assert len(names) == len(set(names)) == 74
    assert list(names) == sorted(names)  # as upstream's file has them
    assert set(STROKE_FAMILY) < set(names)
    for name in ("config.json", "pytorch_model.bin"):
        (tmp_path / name).write_bytes((head_folder / name).read_bytes())
    head, own = load_head(tmp_path), load_head(head_folder)
    assert head.labels == names
    assert head.labels_hash == "01a566bee1895ca8002d1a283c5013acd95f9e3083199a0398798362f6a02367"
    assert own.labels_from == "label_names.txt"
    assert own.labels_hash != head.labels_hash
    assert "01a566bee189" in head.said_of_labels()
    (tmp_path / "label_names.txt").write_text("\n".join(reversed(names)))
    assert load_head(tmp_path).labels == names[::-1]


@pytest.mark.slow
def test_speed_and_memory_at_845_tokens(encoder: NeuroVFM) -> None:
    prepared = _prepared(845)
    encoder.encode(prepared)
    started = time.perf_counter()
    encoder.encode(prepared)
    assert time.perf_counter() - started <= 5
    assert psutil.Process().memory_info().rss < 2.0e9


def _prepared(count: int):
    """Random patches at consecutive places; the volume behind them only lends its geometry."""
    values = 1 + np.random.default_rng(0).random((32, 32, 8))
    prepared = prepare_neurovfm(values, np.diag([1, 1, 4, 1.0]))
    places = itertools.islice(itertools.product(range(9), range(13), range(13)), count)
    inputs = torch.randn(count, 1024, generator=torch.Generator().manual_seed(0))
    return replace(prepared, inputs=inputs, coords=torch.tensor(list(places)))


def _embedding(tokens: torch.Tensor) -> Embedding:
    return Embedding(tokens, torch.zeros(len(tokens), 3, dtype=torch.int64), tokens.mean(dim=0))

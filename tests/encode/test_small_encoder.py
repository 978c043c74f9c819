"""The small encoder: preparation, masks, collapse monitor, pre-training that can be interrupted, what ships."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from recon.encode.distance import Drift
from recon.encode.encoders import choose_encoder, load_encoder
from recon.encode.erasure import erase_lesion, harmonic_fill
from recon.encode.geometry import paint
from recon.encode.latent_prediction.collapse import feature_spread
from recon.encode.latent_prediction.encoder import SHIPPED, load
from recon.encode.latent_prediction.masking import hide_blocks, nearest_piece
from recon.encode.latent_prediction.network import position_code, random_network
from recon.encode.latent_prediction.options import PretrainingOptions, TransformerOptions
from recon.encode.latent_prediction.preparation import prepare_small
from recon.encode.latent_prediction.pretraining import EncoderRun, learning_rate_at, teacher_targets
from recon.encode.latent_prediction.sampling import draw_batch
from recon.encode.latent_prediction.volumes import (
    CONTRASTS,
    Source,
    TrainingVolume,
    by_head,
    cached_volumes,
    contrast_index,
    cut_at,
    find_sources,
    is_held_out,
)
from recon.encode.map import difference_map
from recon.encode.volumes import read_series
from recon.errors import ReconError, ReconWarning
from recon.processes import alone
from tests.encode.conftest import make_head, save_nifti

TINY = """
network: {width: 16, depth: 2, heads: 2, patch: 8}
samples: 64
batch: 8
tokens: 40
predictor_width: 8
predictor_depth: 1
target_layers: 2
checkpoint_samples: 16
monitor_samples: 16
held_out_fraction: 0.0
least_rank: 1.5
"""


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    for seed in range(3):
        save_nifti(folder / f"head{seed}.nii.gz", make_head(seed))
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def test_slices_with_gaps_are_kept_and_thin_ones_sampled(head: np.ndarray, affine: np.ndarray) -> None:
    for step, expected in ((10.0, 10.0), (4.0, 4.0), (2.0, 4.0)):
        spaced = affine.copy()
        spaced[2, 2] = step
        prepared = prepare_small(head, spaced)
        assert prepared.token_size == pytest.approx((expected, 8, 8))
        assert prepared.preprocessing.grid_shape[0] == int(12 * step / expected)
    # The middle of the token lattice is the middle of the volume.
    corners = prepared.token_to_world @ [*((np.array(prepared.mask.shape) - 1) / 2), 1]
    assert np.abs(corners[:3] - (spaced @ [*((np.array(head.shape) - 1) / 2), 1])[:3]).max() < 8


def test_a_single_slice_is_a_volume_to_an_encoder_of_slices(head: np.ndarray, affine: np.ndarray) -> None:
    encoder = load_encoder("recon-small")
    whole = encoder.prepare(head, affine)
    spaced = affine.copy()
    spaced[:3, 2] *= 0.3  # the largest spacing lies in plane; the axis of one slice is the slice axis all the same
    for index, turned in ((2, head[..., 5:6]), (0, np.moveaxis(head[..., 5:6], 2, 0))):
        order = {2: [0, 1, 2, 3], 0: [2, 0, 1, 3]}[index]
        prepared = encoder.prepare(turned, spaced[:, order])
        assert prepared.preprocessing.slice_axis == index
        assert prepared.token_size == pytest.approx((1.2, 8, 8))
        assert prepared.mask.shape == (1, *whole.mask.shape[1:])
        assert torch.isfinite(encoder.encode(prepared).tokens).all()
    with pytest.raises(ReconError, match="single slice"):
        encoder.prepare(head[:1, :, 5:6], affine)


def test_pooled_is_mean_and_spread_of_the_tokens(head: np.ndarray, affine: np.ndarray) -> None:
    encoder = load_encoder("recon-small")
    found = encoder.encode(encoder.prepare(head, affine))
    width = found.tokens.shape[1]
    assert found.pooled.shape == (2 * width,)
    assert torch.allclose(found.pooled[:width], found.tokens.mean(dim=0))
    assert torch.allclose(found.pooled[width:] ** 2, found.tokens.var(dim=0, correction=0), rtol=1e-4)


def test_tokens_hold_the_patches_of_the_image(head: np.ndarray, affine: np.ndarray) -> None:
    prepared = prepare_small(head, affine)
    low, high = prepared.preprocessing.intensity
    means = prepared.inputs.numpy().mean(axis=1) * 0.35 + 0.5
    painted = paint(means, prepared.coords.numpy(), prepared.token_to_world, head.shape, affine)
    inside = painted != 0
    assert 0.3 < inside.mean() < 0.9
    assert np.corrcoef(painted[inside], ((head - low) / (high - low))[inside])[0, 1] > 0.5
    assert 0.4 < np.median(means) < 0.6


def test_locked_background_changes_nothing(head: np.ndarray, affine: np.ndarray) -> None:
    encoder = load_encoder("recon-small")
    prepared = encoder.prepare(head, affine)
    reference = encoder.encode(prepared)
    assert torch.equal(reference.tokens, encoder.encode(prepared).tokens)
    changed = head + np.where(head < 0.1, 1e-6, 0).astype(np.float32)
    other = encoder.encode(encoder.prepare(changed, affine, prepared.preprocessing))
    assert Drift.between(reference, reference).token_distance == 0
    assert Drift.between(reference, other).token_distance < 1e-5


@settings(max_examples=40, deadline=None)
@given(count=st.integers(8, 120), fraction=st.floats(0.3, 0.95), block=st.floats(5, 60), seed=st.integers(0, 1000))
def test_hidden_and_visible_tokens_are_a_partition(count: int, fraction: float, block: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    positions = generator.uniform(-80, 80, (count, 3)).astype(np.float32)
    split = hide_blocks(positions, fraction, block, generator)
    assert len(split.hidden) == min(count - 1, round(fraction * count))
    assert sorted([*split.hidden, *split.visible]) == list(range(count))


def test_pieces_are_neighbours() -> None:
    positions = np.array([[x, 0, 0] for x in range(50)], np.float32)
    piece = nearest_piece(positions, 9, np.random.default_rng(0))
    assert np.ptp(piece) <= 10
    assert len(set(piece.tolist())) == 9


def test_position_code_is_of_unit_circles() -> None:
    code = position_code(torch.tensor([[0.0, 0, 0], [30.0, -70, 5]]), 8)
    assert code.shape == (2, 48)
    pairs = code.reshape(2, 3, 16)
    assert torch.allclose(pairs[..., :8] ** 2 + pairs[..., 8:] ** 2, torch.ones(2, 3, 8), atol=1e-6)
    assert torch.equal(pairs[0, :, :8], torch.zeros(3, 8))


def test_effective_rank_counts_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(20000, 6, generator=generator)
    assert feature_spread(white).effective_rank == pytest.approx(6, rel=0.01)
    assert feature_spread(white).deviation == pytest.approx(1, rel=0.02)
    assert feature_spread(white[:, :1].repeat(1, 6)).effective_rank == pytest.approx(1, abs=1e-6)
    assert feature_spread(torch.ones(50, 6)).deviation == 0


def test_targets_are_layer_normed() -> None:
    layers = [torch.randn(2, 5, 16) * 7 + 3 for _ in range(3)]
    targets = teacher_targets(layers, 2)
    assert torch.allclose(targets.mean(-1), torch.zeros(2, 5), atol=1e-5)
    assert torch.allclose(targets.var(-1, unbiased=False), torch.ones(2, 5), atol=1e-3)


def test_every_cycle_has_its_own_learning_rates() -> None:
    options = PretrainingOptions(samples=1000, cycles=3, learning_rate=0.1, warmup_fraction=0.1)
    rates = [learning_rate_at(options, samples) for samples in range(1, 3001)]
    assert rates[:1000] == rates[1000:2000] == rates[2000:]
    assert rates[99] == pytest.approx(0.1)
    assert rates[999] == pytest.approx(0.001)
    assert rates[549] == pytest.approx(0.0505, rel=1e-3)


def test_collapse_is_an_error(heads: Path, tmp_path: Path) -> None:
    options = PretrainingOptions(
        network=TransformerOptions(width=16, depth=1, heads=2), tokens=40, batch=4, target_layers=1
    )
    with pytest.warns(ReconWarning, match="person of its own"):
        volumes = cached_volumes(find_sources([heads]), tmp_path, 8)
    run = EncoderRun(options, tmp_path, alone())
    batch = draw_batch(by_head(volumes), options, 0)
    with torch.no_grad():
        for parameter in run.teacher.parameters():
            parameter.zero_()
    with pytest.raises(ReconError, match="collapsed after 0 samples"):
        run.spread(batch)


def test_mirrored_tokens_are_the_mirrored_head(heads: Path, tmp_path: Path) -> None:
    with pytest.warns(ReconWarning, match="person of its own"):
        volume = cached_volumes(find_sources([heads])[:1], tmp_path, 8)[0]
    plain, mirrored = (cut_at(volume, 8, (0, 0), mirror, 0.5) for mirror in (False, True))
    axis = int(np.argmax(np.abs(volume.affine[:3, 2])))
    assert np.allclose(plain.positions[:, axis], -mirrored.positions[:, axis])
    assert np.array_equal(plain.patches.reshape(-1, 8, 8)[..., ::-1], mirrored.patches.reshape(-1, 8, 8))


def in_contrasts(volume: TrainingVolume, names: tuple[str, ...]) -> list[TrainingVolume]:
    """One head in several contrasts: the values differ by what is added, everything else is shared."""
    found = []
    for number, name in enumerate(names):
        source = Source(volume.source.path, "person", "made", "none", scan="one", contrast=name)
        values = (volume.values + np.float16(10 * number)).astype(np.float16)
        found.append(replace(volume, source=source, values=values))
    return found


@pytest.mark.filterwarnings("ignore:.*person of its own:recon.errors.ReconWarning")
def test_the_teacher_sees_another_contrast_of_the_same_tokens(heads: Path, tmp_path: Path) -> None:
    alone = cached_volumes(find_sources([heads]), tmp_path, 8)
    contrasts = in_contrasts(alone[0], ("T1", "FLAIR", "something else"))
    moved = replace(contrasts[0], affine=contrasts[0].affine + np.eye(4))
    assert [len(head) for head in by_head([*contrasts, moved, *alone])] == [3, 1, 1, 1, 1]
    common = {
        "network": TransformerOptions(width=16, depth=2, heads=2),
        "tokens": 40,
        "batch": 8,
        "noise": 0,
        "gain": 0,
    }
    batch = draw_batch(by_head(contrasts), PretrainingOptions(**common, other_contrast=1), 0)
    steps = (batch.targets - batch.patches).mean(dim=(1, 2))
    assert not torch.isclose(steps, torch.zeros(8), atol=0.1).any()
    # The difference is the one between two contrasts at the same places, and the number says which was asked for.
    assert torch.allclose(batch.targets - batch.patches, steps[:, None, None].expand_as(batch.patches), atol=0.1)
    assert set(batch.contrast.tolist()) <= {contrast_index(name) for name in ("T1", "FLAIR", "")}
    same = draw_batch(by_head(contrasts), PretrainingOptions(**common, other_contrast=0), 0)
    assert torch.equal(same.targets, same.patches)
    assert contrast_index("FLAIR") == CONTRASTS.index("FLAIR")
    assert contrast_index("perfusion") == 0


@pytest.fixture
def simulated(heads: Path, tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A folder as ``recon simulate`` leaves it: one head in two contrasts with its lesion mask."""
    folder = tmp_path / "simulated"
    folder.mkdir()
    head = make_head()
    lesion = np.zeros(head.shape, np.float32)
    lesion[24:40, 40:56, 5:7] = 1
    for name, values in (("T1", head), ("FLAIR", head + 0.5 * lesion), ("lesion", lesion)):
        save_nifti(folder / f"one_{name}.nii.gz", values.astype(np.float32))
    common = {"subject": "one", "group": "person", "kind": "simulated", "source": "made here", "licence": "none"}
    scans = [
        {**common, "file": f"one_{name}.nii.gz", "contrast": name, "lesion_file": "one_lesion.nii.gz"}
        for name in ("T1", "FLAIR")
    ]
    (folder / "manifest.json").write_text(json.dumps({"scans": scans}))
    return folder, lesion


def test_tokens_know_their_share_of_the_simulated_lesion(simulated: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    folder, lesion = simulated
    for _ in range(2):  # prepared, then from the cache
        volumes = cached_volumes(find_sources([folder]), tmp_path / "cache", 8)
        tokens = cut_at(volumes[0], 8, (0, 0), False, 0.5)
        voxels = float(tokens.lesion.sum()) * 64
        assert voxels == pytest.approx(lesion.sum(), rel=0.02)
        assert tokens.lesion.max() == pytest.approx(1, abs=1e-3)
        assert len(by_head(volumes)) == 1
    plain = cut_at(replace(volumes[0], lesion=None), 8, (0, 0), False, 0.5)
    assert np.isnan(plain.lesion).all()
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text().replace("one_lesion", "lost"))
    with pytest.raises(ReconError, match=r"lost.nii.gz"):
        cached_volumes(find_sources([folder]), tmp_path / "cache", 8)


def test_the_lesion_term_teaches_where_lesions_are(simulated: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    heads = by_head(cached_volumes(find_sources([simulated[0]]), tmp_path, 8))
    common = {"network": TransformerOptions(width=16, depth=1, heads=2), "tokens": 60, "batch": 8, "target_layers": 1}
    separation = {}
    for weight in (0.0, 5.0):
        options = PretrainingOptions(
            **common, lesion_weight=weight, samples=400, learning_rate=1e-2, warmup_fraction=0, noise=0
        )
        run, batch = EncoderRun(options, tmp_path, alone()), draw_batch(heads, options, 0)
        assert (batch.lesion > 0.5).any()
        for _ in range(30):
            run.step(heads)
        with torch.no_grad():
            found = run.lesion_head(run.student(batch.patches, batch.positions))[..., 0]
        separation[weight] = float(found[batch.lesion > 0.5].mean() - found[batch.lesion == 0].mean())
    assert separation[5.0] > 2
    assert separation[5.0] > 2 * abs(separation[0.0])


def test_held_out_persons_are_about_the_fraction() -> None:
    share = np.mean([is_held_out(f"person-{index}", 0.3, 0) for index in range(2000)])
    assert share == pytest.approx(0.3, abs=0.04)


@pytest.mark.filterwarnings("ignore:.*person of its own:recon.errors.ReconWarning")
@pytest.mark.filterwarnings("ignore:.*noise level is estimated:recon.errors.ReconWarning")
@pytest.mark.filterwarnings("ignore:.*(off by a factor|correlates with its reference):recon.errors.ReconWarning")
def test_interrupted_pretraining_is_the_same_run(run_cli, heads: Path, recipe: Path, tmp_path: Path) -> None:
    words = ("encode", "pretrain", "--data", heads, "--config", recipe, "--cache", tmp_path / "cache", "--threads", 1)
    stopped = run_cli(*words, "--out", tmp_path / "a", "--dry-run", 3, "--json")
    assert stopped.code == 0, stopped.err
    assert (stopped.json["finished"], stopped.json["samples"]) == (False, 24)
    assert not (tmp_path / "a" / "config.json").exists()
    continued = run_cli(*words, "--out", tmp_path / "a")
    assert "continuing at sample 24" in continued.err
    assert "effective rank" in continued.err
    whole = run_cli(*words, "--out", tmp_path / "b", "--json")
    assert whole.json["finished"]
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert all(torch.equal(first[key], second[key]) for key in second)
    random = random_network(
        TransformerOptions(width=16, depth=2, heads=2), torch.Generator().manual_seed(0)
    ).state_dict()
    assert set(random) == set(first)
    card = (tmp_path / "a" / "README.md").read_text()
    assert "no diagnostic model" in card
    encoder = load_encoder("recon-small", tmp_path / "a")
    assert encoder.encode(encoder.prepare(make_head(), np.diag([1.0, 1, 4, 1]))).tokens.shape[1] == 16
    drift = ("encode", "drift", heads / "head1.nii.gz", "--reference", heads / "head0.nii.gz", "--json")
    compared = run_cli(*drift, "--weights", tmp_path / "a", "--replicas", 2)
    assert compared.code == 0, compared.err
    # The control has the width of the weights given: drawn again here, it gives the same figure.
    control = load_encoder("recon-small", tmp_path / "a", random_seed=0)
    base, other = (read_series(heads / f"head{index}.nii.gz") for index in (0, 1))
    prepared = control.prepare(base.values, base.affine)
    moved = control.encode(control.prepare(other.values, base.affine, prepared.preprocessing))
    expected = Drift.between(control.encode(prepared), moved)
    assert moved.tokens.shape[1] == 16
    assert compared.json["reconstructions"][0]["random_init"]["token_cosine"] == pytest.approx(expected.token_cosine)
    refused = run_cli(*words, "--out", tmp_path / "a", "--seed", 5)
    assert refused.code == 2
    assert "other options" in refused.err
    (tmp_path / "a" / "state.safetensors").write_bytes(b"half a file")
    damaged = run_cli(*words, "--out", tmp_path / "a")
    assert damaged.code == 2
    assert "damaged" in damaged.err


@pytest.mark.filterwarnings("ignore:.*person of its own:recon.errors.ReconWarning")
def test_what_cannot_be_trained_on(run_cli, heads: Path, recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(TINY + "hiden_fraction: 0.5\n")
    wrong = run_cli("encode", "pretrain", "--data", heads, "--config", recipe, "--out", tmp_path / "x")
    assert wrong.code == 2
    assert "did you mean 'hidden_fraction'" in wrong.err
    recipe.write_text(TINY.replace("tokens: 40", "tokens: 4000"))
    large = run_cli("encode", "pretrain", "--data", heads, "--config", recipe, "--out", tmp_path / "x")
    assert large.code == 2
    assert "no volume has 4000 tokens" in large.err
    recipe.write_text(TINY)
    (tmp_path / "empty").mkdir()
    empty = run_cli("encode", "pretrain", "--data", tmp_path / "empty", "--config", recipe, "--out", tmp_path / "x")
    assert empty.code == 2
    assert "no scans or NIfTI volumes" in empty.err
    head = make_head()
    head[20, 20, 5] = np.nan
    save_nifti(tmp_path / "empty" / "nan.nii.gz", head)
    spoiled = run_cli("encode", "pretrain", "--data", tmp_path / "empty", "--config", recipe, "--out", tmp_path / "x")
    assert spoiled.code == 2
    assert "nan.nii.gz" in spoiled.err


@pytest.mark.filterwarnings("ignore:.*noise level is estimated:recon.errors.ReconWarning")
@pytest.mark.filterwarnings("ignore:.*(off by a factor|correlates with its reference):recon.errors.ReconWarning")
def test_what_ships_is_the_default(run_cli, heads: Path) -> None:
    assert choose_encoder(None) == "recon-small"
    encoder = load(None)
    assert len(encoder.weights_hash) == 64
    size = (SHIPPED / "model.safetensors").stat().st_size
    assert size < 8_000_000
    card = (SHIPPED / "README.md").read_text()
    for word in ("GPL-2", "CC-BY", "ICBM", "not a", "held out", "random"):
        assert word in card
    config = json.loads((SHIPPED / "config.json").read_text())
    assert config["effective_rank"] > 4
    listed = run_cli("encode", "list", "--json").json["encoders"][0]
    assert (listed["encoder"], listed["loadable"]) == ("recon-small", "now")
    found = run_cli("encode", "drift", heads / "head1.nii.gz", "--reference", heads / "head0.nii.gz", "--json")
    assert found.json["encoder"] == "recon-small"
    assert found.json["reconstructions"][0]["token_distance"] > 0
    doctor = run_cli("encode", "doctor", heads / "head0.nii.gz", "--json")
    assert doctor.json["usable"]


def test_partial_or_foreign_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReconError, match="not a folder"):
        load(tmp_path / "absent")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ReconError, match="no encoder of"):
        load(tmp_path)
    (tmp_path / "config.json").write_text((SHIPPED / "config.json").read_text())
    tensors = load_file(SHIPPED / "model.safetensors")
    del tensors["norm.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ReconError, match=r"1 missing \(norm.weight\)"):
        load(tmp_path)


def test_harmonic_filling_restores_a_plane() -> None:
    x, y = np.meshgrid(np.arange(20.0), np.arange(30.0), indexing="ij")
    plane = 3 * x - 2 * y + 1
    hole = np.zeros(plane.shape, bool)
    hole[5:12, 8:20] = True
    spoiled = np.where(hole, 99, plane)
    assert np.allclose(harmonic_fill(spoiled, hole), plane, atol=1e-9)


def test_an_erased_lesion_is_where_the_map_points(head: np.ndarray, affine: np.ndarray) -> None:
    encoder = load(None)
    lesion = np.zeros(head.shape, bool)
    lesion[26:36, 44:54, 5:7] = True
    sick = np.where(lesion, 1.1, head).astype(np.float32)
    erased = erase_lesion(sick, lesion, np.random.default_rng(0), noise_std=0.02)
    untouched = np.ones(head.shape, bool)
    untouched[23:39, 41:57, 5:7] = False
    assert np.array_equal(erased[untouched], sick[untouched])
    assert abs(erased[lesion].mean() - head[lesion].mean()) < 0.2
    prepared = encoder.prepare(sick, affine)
    found = difference_map(
        prepared, encoder.encode(prepared), encoder.encode(encoder.prepare(erased, affine, prepared.preprocessing))
    )
    centre = affine @ [30.5, 48.5, 5.5, 1]
    assert np.abs(np.array(found.peak_world) - centre[:3]).max() < 14
    with pytest.raises(ReconError, match="empty"):
        erase_lesion(sick, np.zeros_like(lesion), np.random.default_rng(0))

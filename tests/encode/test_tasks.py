"""Task models: adapters that begin as nothing, their budget, training that continues to the bit, evaluation."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from recon.encode.encoders import load_encoder
from recon.encode.interface import DifferentiableEncoder, PreparedVolume
from recon.encode.probes.labels import read_labels
from recon.encode.tasks.anatomy import anatomy_features, shuffled
from recon.encode.tasks.evaluation import wilson
from recon.encode.tasks.low_rank import (
    Experts,
    LowRank,
    adapted_layers,
    attached,
    build_adapters,
    entropy,
    routing,
    weights_in,
)
from recon.encode.tasks.network import answer, random_head
from recon.encode.tasks.options import AdapterOptions, TaskFitOptions
from recon.encode.tasks.pooling import SliceAttention, slice_vectors
from recon.encode.tasks.start import lesion_regression, probe_start
from recon.encode.tasks.training import TaskCases, TaskRun
from recon.encode.tasks.volumes import View, cases_of, lesion_share, read_view, some_tokens
from recon.errors import ReconError
from recon.processes import alone
from tests.encode.conftest import AFFINE, make_head, save_nifti
from tests.less_memory import a_gigabyte_left

SMALL = ("--samples", 12, "--batch", 2, "--tokens", 60, "--judge-samples", 6, "--choose-on", 0.4, "--threads", 1)


def drawn(adapters: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """The adapters with every weight drawn, as after a training."""
    for adapter in adapters.values():
        for parameter in adapter.parameters():
            nn.init.normal_(parameter, std=0.1)
    return adapters


def test_an_expert_mixture_is_its_formula() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 5)
    adapter = drawn({"": Experts(layer, 3, 2)})[""]
    assert isinstance(adapter, Experts)
    values = torch.randn(4, 6)
    gates = (values @ adapter.router.T).softmax(dim=1)
    expected = sum(gates[:, e, None] * (values @ adapter.down[e].T @ adapter.up[e].T) for e in range(3))
    assert torch.allclose(adapter(values), expected, atol=1e-6)
    plain = drawn({"": LowRank(layer, 2)})[""]
    assert torch.allclose(plain(values), values @ plain.down.T @ plain.up.T, atol=1e-6)


@pytest.mark.parametrize("kind", ["molre", "lora"])
def test_adapters_begin_as_the_same_bits_and_leave_no_trace(kind: str) -> None:
    encoder = load_encoder("recon-small")
    assert isinstance(encoder, DifferentiableEncoder)
    prepared = encoder.prepare(make_head(), AFFINE)
    before = encoder.encode(prepared)
    adapters = build_adapters(encoder.network, AdapterOptions(kind), torch.Generator().manual_seed(0))
    with attached(encoder.network, adapters):
        during = encoder.encode(prepared)
    assert torch.equal(before.tokens, during.tokens)
    assert torch.equal(before.pooled, during.pooled)
    with attached(encoder.network, drawn(adapters)):
        changed = encoder.encode(prepared)
    assert not torch.allclose(before.tokens, changed.tokens)
    assert torch.equal(before.tokens, encoder.encode(prepared).tokens)


def test_both_kinds_have_equally_many_weights_within_the_budget() -> None:
    network = load_encoder("recon-small").network  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(0)
    counts = {
        kind: weights_in(build_adapters(network, AdapterOptions(kind), generator).values())
        for kind in ("molre", "lora")
    }
    assert counts["molre"] == counts["lora"] == 2560
    assert counts["molre"] < 0.005 * weights_in([network])
    with pytest.raises(ReconError, match=r"2\.\d\d% of the encoder's .* --budget 0\.0"):
        build_adapters(network, AdapterOptions("molre", rank=4, last=2), generator)
    with pytest.raises(ReconError, match=r"no linear layer of the encoder has such a name; it has .*qkv"):
        build_adapters(network, AdapterOptions("lora", targets=("query",)), generator)
    assert list(adapted_layers(network, AdapterOptions(last=0))) == [f"blocks.{index}.qkv" for index in range(3)]


def test_features_are_those_of_encode_and_carry_gradients_to_adapters_only() -> None:
    encoder = load_encoder("recon-small", random_seed=0)
    assert isinstance(encoder, DifferentiableEncoder)
    prepared = encoder.prepare(make_head(), AFFINE)
    tokens, _ = encoder.features(prepared)
    assert torch.allclose(tokens, encoder.encode(prepared).tokens, atol=1e-6)
    assert not tokens.requires_grad
    adapters = drawn(build_adapters(encoder.network, AdapterOptions("molre"), torch.Generator().manual_seed(0)))
    with attached(encoder.network, adapters):
        encoder.features(prepared)[1].square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for a in adapters.values() for p in a.parameters() if p.grad is not None)
    assert all(parameter.grad is None for parameter in encoder.network.parameters())


def test_entropy_of_routing() -> None:
    even, own = torch.full((8, 4), 0.25), torch.eye(4).repeat(2, 1)
    assert entropy(even) == pytest.approx((1, 1))
    assert entropy(own) == pytest.approx((0, 1))
    assert entropy(torch.eye(4)[:1].repeat(8, 1)) == pytest.approx((0, 0))
    encoder = load_encoder("recon-small")
    adapters = build_adapters(encoder.network, AdapterOptions("molre"), torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
    prepared = encoder.prepare(make_head(), AFFINE)
    with routing(encoder.network, adapters) as noted:  # type: ignore[attr-defined]
        encoder.encode(prepared)
    (gates,) = noted["blocks.2.qkv"]
    assert gates.shape == (len(prepared.coords), 4)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(9)), st.lists(st.integers(0, 3), min_size=9, max_size=9))
def test_pooling_over_slices_knows_no_order(order: list[int], slices: list[int]) -> None:
    torch.manual_seed(1)
    tokens, numbers, attend = torch.randn(9, 3), torch.tensor(slices), SliceAttention(6)
    vectors = slice_vectors(tokens, numbers)
    assert torch.allclose(vectors[0, :3], tokens[numbers == min(slices)].mean(dim=0), atol=1e-6)
    moved = slice_vectors(tokens[order], 3 - numbers[order])
    one, other = (attend(each) @ each for each in (vectors, moved))
    assert torch.allclose(one, other, atol=1e-5)


def test_wilson_s_interval() -> None:
    share = wilson(18, 20)
    assert (share.low, share.high) == pytest.approx((0.6990, 0.9721), abs=1e-4)  # Newcombe 1998's formula
    assert math.isnan(wilson(0, 0).low)


def write_table(folder: Path, persons: int = 12, views: bool = False) -> Path:
    """Two volumes a person, one with a bright block and its mask."""
    rows = []
    for person in range(persons):
        for sick in (0, 1):
            head, mask = make_head(person), np.zeros((64, 80, 12), np.float32)
            if sick:
                mask[24:40, 36:52, 5:8] = 1
                head[mask > 0] += 0.8
            for view in ("axial", "again") if views else ("",):
                file = f"{person}-{sick}{view}.nii.gz"
                save_nifti(folder / file, head)
                row = {
                    "file": file, "subject": f"Mr {person}", "case": f"{person}-{sick}", "lesion": sick,
                    "split": "fit" if person < persons - 5 else "eval", "mask": "none",
                }  # fmt: skip
                if sick:
                    row["mask"] = f"mask{file}"
                    save_nifti(folder / row["mask"], mask)
                rows.append({**row, "view": view} if views else row)
    with (folder / "labels.csv").open("w", newline="") as file_:
        writer = csv.DictWriter(file_, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("tasks"))


def test_lesions_are_shared_out_over_tokens(table: Path, tmp_path: Path) -> None:
    encoder = load_encoder("recon-small")
    cases = cases_of(encoder, read_labels(table), "lesion", tmp_path)
    view = read_view(cases[1].views[0])
    assert view.lesion is not None
    millilitres = float(view.lesion.sum()) * math.prod(view.prepared.token_size) / 1000
    assert millilitres == pytest.approx(16 * 16 * 12 / 1000, rel=0.05)
    healthy = read_view(cases[0].views[0])
    assert healthy.lesion is not None
    assert not healthy.lesion.any()
    fewer = some_tokens(view, 20, torch.Generator().manual_seed(0))
    assert fewer.prepared.inputs.shape == (20, 64)
    assert fewer.lesion is not None
    assert len(fewer.lesion) == 20
    again = cases_of(encoder, read_labels(table), "lesion", tmp_path)
    assert again == cases
    assert float(lesion_share(np.zeros((64, 80, 12), bool), AFFINE, view.prepared).sum()) == 0


def test_from_a_table_to_a_comparison(run_cli, table: Path, tmp_path: Path) -> None:
    words = ("task", "fit", table, "--label", "lesion", "--cache", table.parent / "kept", *SMALL)
    frozen = run_cli(*words, "--out", tmp_path / "frozen", "--json")
    assert frozen.code == 0, frozen.err
    assert frozen.json["adapter_weights"] == 0
    whole = run_cli(*words, "--out", tmp_path / "molre", "--adapter", "molre", "--pool", "slices", "--pixel-weight", 2)
    assert whole.code == 0, whole.err
    assert "0.42%" in whole.out
    for steps, finished in ((3, False), (0, True)):  # interrupted once, and to the same bits
        part = run_cli(
            *words, "--out", tmp_path / "part", "--adapter", "molre", "--pool", "slices", "--pixel-weight", 2,
            "--dry-run", steps, "--json",
        )  # fmt: skip
        assert part.json["finished"] is finished
    tensors = [load_file(tmp_path / name / "model.safetensors") for name in ("molre", "part")]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    assert "Mr 3" not in (tmp_path / "molre" / "config.json").read_text()
    assert "nothing it says is a diagnosis" in (tmp_path / "molre" / "README.md").read_text()
    judge = ("task", "eval", table, "--cache", table.parent / "kept", "--repeats", 60)
    judged = run_cli(*judge, "--model", tmp_path / "frozen", "--model", tmp_path / "molre", "--json")
    assert judged.code == 0, judged.err
    first, second = judged.json["models"]
    assert first["persons"] == 5
    assert first["auc"]["value"] > 0.9
    assert first["difference"] is None
    assert second["difference"]["low"] <= second["difference"]["high"]
    assert 0 < second["routing"]["blocks.2.qkv"][0] <= 1
    assert second["heatmap_in_lesion"]["of"] == 5
    text = run_cli(*judge, "--model", tmp_path / "molre").out
    assert "not a diagnosis" in text
    assert "Wilson" in text
    volume = table.parent / "11-1.nii.gz"
    mapped = run_cli("task", "map", volume, "--model", tmp_path / "molre", "--out", tmp_path / "map.nii.gz", "--json")
    assert mapped.code == 0, mapped.err
    assert (tmp_path / "map.nii.gz").is_file()
    assert sum(mapped.json["probabilities"]) == pytest.approx(1)
    without = run_cli("task", "map", volume, "--model", tmp_path / "frozen", "--out", tmp_path / "no.nii.gz")
    assert without.code == 2
    assert "--pixel-weight" in without.err


def test_anatomy_of_a_heatmap() -> None:
    prepared = load_encoder("recon-small").prepare(make_head(), AFFINE)
    places = prepared.coords.numpy() @ prepared.token_to_world[:3, :3].T + prepared.token_to_world[:3, 3]
    right = torch.from_numpy((places[:, 0] > 8) & (np.abs(places[:, 1]) < 12) & (np.abs(places[:, 2]) < 12)).float()
    volume, peak, asymmetry, *territories = anatomy_features(right, prepared).tolist()
    assert math.expm1(volume) == pytest.approx(float(right.sum()) * math.prod(prepared.token_size) / 1000, rel=1e-3)
    assert (peak, asymmetry) == pytest.approx((1, 1), abs=1e-3)
    assert max(territories) <= volume
    assert territories[0] > 3 * territories[1]  # of the middle artery, not of the anterior one
    both = torch.from_numpy((np.abs(places[:, 0]) > 8) & (np.abs(places[:, 1]) < 12)).float()
    assert float(anatomy_features(both, prepared)[2]) < 0.2


def test_anatomy_is_fused_from_nothing_and_trained(run_cli, table: Path, tmp_path: Path) -> None:
    words = ("task", "fit", table, "--label", "lesion", "--cache", table.parent / "kept", *SMALL, "--anatomy")
    assert "needs pixel supervision" in run_cli(*words, "--out", tmp_path / "no").err
    fitted = run_cli(*words, "--pixel-weight", 5, "--out", tmp_path / "m", "--json")
    assert fitted.code == 0, fitted.err
    assert "fused through a gate" in (tmp_path / "m" / "README.md").read_text()
    head = load_file(tmp_path / "m" / "model.safetensors")
    assert head["head/anatomy.weight"].shape == (2, 8)
    assert float(head["head/anatomy_deviation"].min()) > 0
    state = load_file(tmp_path / "m" / "state.safetensors")
    assert float(state["weight/head/anatomy.weight"].abs().sum()) > 0
    control = (*words, "--pixel-weight", 5, "--shuffled-anatomy", "--out", tmp_path / "c")
    assert run_cli(*control).code == 0
    assert "its places shuffled: the control" in (tmp_path / "c" / "README.md").read_text()
    alone_ = (*words[:-1], "--pixel-weight", 5, "--shuffled-anatomy", "--out", tmp_path / "x")
    assert "give anatomy, too" in run_cli(*alone_).err


def test_a_shuffled_heatmap_has_the_volume_and_the_peak_but_no_place() -> None:
    prepared = load_encoder("recon-small").prepare(make_head(), AFFINE)
    places = prepared.coords.numpy() @ prepared.token_to_world[:3, :3].T + prepared.token_to_world[:3, 3]
    right = torch.from_numpy(places[:, 0] > 8).float() * 0.9
    mixed = shuffled(right, prepared)
    assert torch.equal(mixed, shuffled(right, prepared))
    true, control = anatomy_features(right, prepared), anatomy_features(mixed, prepared)
    assert torch.allclose(true[:2], control[:2], atol=1e-4)
    assert true[2] > 0.99 > 0.3 > control[2]


def test_a_heatmap_begins_as_a_regression_on_frozen_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(4000, 6, generator=generator) * torch.tensor([1.0, 5, 1, 1, 1, 1]) + 3
    truth = torch.sigmoid(0.4 * (tokens[:, 1] - 3) - 2)
    weight, bias = lesion_regression(tokens, truth)
    said = torch.sigmoid(tokens @ weight + bias)
    assert float((said - truth).abs().mean()) < 0.01
    assert float(weight[1]) == pytest.approx(0.4, abs=0.03)
    assert float(lesion_regression(tokens, torch.zeros(4000))[1]) < -5  # without a lesion: nothing is one


def test_a_start_with_masks_finds_lesions_before_training(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder("recon-small")
    assert isinstance(encoder, DifferentiableEncoder)
    cases = cases_of(encoder, read_labels(table), "lesion", tmp_path)
    options = TaskFitOptions(label="lesion", pixel_weight=1.0, anatomy=True, tokens=0)
    run = TaskRun(options, encoder, (128, 256, 2), tmp_path / "m", alone())
    encoded: list[torch.Tensor] = []
    features = type(encoder).features

    def counted(self: DifferentiableEncoder, prepared: PreparedVolume) -> tuple[torch.Tensor, torch.Tensor]:
        tokens, pooled = features(self, prepared)
        encoded.append(tokens)
        return tokens, pooled

    with monkeypatch.context() as patch:
        patch.setattr(type(encoder), "features", counted)
        run.begin(probe_start(encoder, run.head, cases[:14], (0, 1), options))
    views = [read_view(path).prepared for case in cases[:14] for path in case.views]
    assert len(encoded) == len(views)  # each is encoded once, and anatomy reads the same bits
    with torch.no_grad():
        read = [run.head.read([run.head.token(each)[:, 0]], [view]) for each, view in zip(encoded, views, strict=True)]
    assert torch.equal(run.head.anatomy_mean, torch.stack(read).mean(dim=0))
    found = []
    for case in cases[15::2]:
        view = read_view(case.views[0])
        with torch.no_grad():
            (said,) = answer(encoder, run.head, [view.prepared]).token_logits
        assert view.lesion is not None
        found.append(float(view.lesion[said.argmax()]) > 0)
    assert np.mean(found) > 0.7
    assert float(run.head.anatomy_mean[0]) > 0


def test_views_of_one_case_are_one_case(tmp_path: Path) -> None:
    table = write_table(tmp_path, persons=1, views=True)
    encoder = load_encoder("recon-small")
    assert isinstance(encoder, DifferentiableEncoder)
    cases = cases_of(encoder, read_labels(table), "lesion", tmp_path / "volumes")
    assert [len(case.views) for case in cases] == [2, 2]
    assert [case.names for case in cases] == [("axial", "again")] * 2
    assert cases[1].seen_in(("again",)).views == cases[1].views[1:]
    assert cases[1].seen_in(()) == cases[1]
    with pytest.raises(ReconError, match="has no view coronal"):
        cases[1].seen_in(("coronal",))
    views = [read_view(path).prepared for path in cases[1].views]
    options = TaskFitOptions(label="lesion", pool="slices")
    head = random_head(128, 256, 2, options, torch.Generator().manual_seed(0))
    with torch.no_grad():
        both, one = answer(encoder, head, views), answer(encoder, head, views[:1])
    assert both.slice_weights is not None
    assert len(both.slice_weights) == 24
    assert float(both.slice_weights.sum()) == pytest.approx(1)
    assert torch.allclose(both.logits, one.logits, atol=1e-5)  # the two views show the same, and slices weigh equally
    assert [len(each) for each in both.token_logits] == [len(view.coords) for view in views]


def test_wrong_input_is_one_line(run_cli, table: Path, tmp_path: Path) -> None:
    words = ("task", "fit", table, "--out", tmp_path / "m", "--cache", table.parent / "kept", *SMALL)
    for extra, message in (
        (("--label", "tumour"), "no label 'tumour'"),
        (("--label", "lesion", "--encoder", "hand-made"), "is no network"),
        (("--label", "lesion", "--adapter", "molre", "--rank", 9), "the budget is 0.50%"),
        (("--label", "lesion", "--choose-on", 0), "to choose the duration on"),
    ):
        outcome = run_cli(*words, *extra)
        assert outcome.code == 2
        assert message in outcome.err
    assert run_cli(*words, "--label", "lesion", "--json").code == 0
    other = ("task", "eval", table, "--cache", table.parent / "kept", "--model", tmp_path / "m")
    assert "give the same encoder" in run_cli(*other, "--random-init", 3).err
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "sizes": [128, 7]}))
    assert "does not fit config.json" in run_cli(*other).err
    asked = {**config, "sizes": [100_000, 100_000], "classes": list(range(10_000))}  # four gigabytes
    (tmp_path / "m" / "config.json").write_text(json.dumps(asked))
    with a_gigabyte_left():
        refused = run_cli(*other)
    assert (refused.code, "does not fit config.json" in refused.err) == (2, True)
    assert "no finished model" in run_cli(*other[:-1], table.parent).err
    masks = (table.parent / "labels.csv").read_text().replace("mask11-1", "gone11-1")
    (table.parent / "other.csv").write_text(masks)
    assert "no such mask" in run_cli("task", "fit", table.parent / "other.csv", *words[3:], "--label", "lesion").err


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_encoder_has_layers_to_adapt(encoder) -> None:
    """NeuroVFM's, and those of DINOv3 where transformers is there."""
    assert len(adapted_layers(encoder.network, AdapterOptions(last=0))) == 12
    adapters = build_adapters(
        encoder.network, AdapterOptions("molre", rank=2, last=0), torch.Generator().manual_seed(0)
    )
    assert weights_in(adapters.values()) < 0.005 * weights_in([encoder.network])
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: encoders)")
    shape = transformers.DINOv3ViTConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_register_tokens=4
    )
    network = transformers.DINOv3ViTModel(shape)
    assert len(adapted_layers(network, AdapterOptions(last=0))) == 4


def test_the_tokens_of_a_network_of_volumes_are_left_alone() -> None:
    prepared = load_encoder("recon-small").prepare(make_head(), AFFINE)
    whole = replace(prepared, inputs=torch.zeros(1, 1, 96, 96, 96))
    assert isinstance(whole, PreparedVolume)
    assert some_tokens(View(whole, None), 10, torch.Generator()).prepared is whole


class GivenBatches(TaskRun):
    """A training whose batches are told."""

    batch: list[tuple[list[View], int]]

    def draw(self, data: TaskCases) -> list[tuple[list[View], int]]:
        return self.batch


def test_the_probe_s_layer_moves_slowly() -> None:
    encoder = load_encoder("recon-small")
    assert isinstance(encoder, DifferentiableEncoder)
    view = View(encoder.prepare(make_head(), AFFINE), None)
    moved = {}
    for rate in (0.0, 0.02, 1.0):
        options = TaskFitOptions(label="lesion", adapter="lora", head_rate=rate, warmup_fraction=0.0)
        run = GivenBatches(options, encoder, (128, 256, 2), Path("nowhere"), alone())
        before = run.head.classify.weight.detach().clone()
        for labels in ((0, 1), (0, 0)):
            run.batch = [([view], label) for label in labels]
            run.step(TaskCases((), (), (0, 1)))
        moved[rate] = float((run.head.classify.weight.detach() - before).abs().max())
        assert float(run.adapters["blocks.2.qkv"].up.detach().abs().max()) > 0  # type: ignore[operator, union-attr]
    assert moved[0.0] == 0
    assert 0 < moved[0.02] < 0.05 * moved[1.0]

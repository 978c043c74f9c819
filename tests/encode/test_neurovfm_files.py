"""Weight folders in upstream's layout: each statement of the configuration is checked, damage refused in one line."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from recon.encode import neurovfm
from recon.encode.encoders import load_encoder
from recon.encode.neurovfm import NeuroVFM
from recon.encode.neurovfm_configuration import check_configuration
from recon.encode.neurovfm_head import DiagnosticNetwork, HeadShape, load_head
from recon.encode.weights import check_tensors, read_tensors
from recon.errors import ReconError
from tests.encode.conftest import save_nifti

UPSTREAM = {
    "which": "vit",
    "params": {
        "embed_dim": 768,
        "depth": 12,
        "num_heads": 12,
        "prefix_len": 0,
        "drop_path_rate": 0.1,
        "embed_layer_cf": {
            "which": "voxel",
            "params": {
                "in_chans": 1,
                "embed_dim": 738,
                "bias": True,
                "fused_bias_fc": True,
                "patch_hw_size": 16,
                "patch_d_size": 4,
            },
        },
        "pos_emb_cf": {"which": "pe3d", "params": {"in_dim": 738, "d": 30, "concat": True, "pe_factor": 1}},
    },
}
LOADED = [lambda config: config, lambda config: {"model": config, "normalization_stats": [[0.3], [0.2]]}]


def changed(path: str, value: object) -> dict:
    config = json.loads(json.dumps(UPSTREAM))
    *above, last = path.split(".")
    place = config
    for key in above:
        place = place[key]
    place[last] = value
    return config


@pytest.mark.parametrize("wrap", LOADED)
def test_upstream_s_own_configuration_is_accepted(wrap) -> None:
    check_configuration(wrap(UPSTREAM), Path("config.json"))


@pytest.mark.parametrize("wrap", LOADED)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("which", "vit_small"),
        ("params.num_heads", 6),
        ("params.embed_dim", 384),
        ("params.depth", 24),
        ("params.qkv_bias", False),
        ("params.qkv_bias", 1),
        ("params.mlp_ratio", 2.0),
        ("params.embed_layer_cf.params.patch_hw_size", 8),
        ("params.embed_layer_cf.params.patch_d_size", 8),
        ("params.embed_layer_cf.which", "linear"),
        ("params.pos_emb_cf.params.pe_factor", 4),
        ("params.pos_emb_cf.params.pe_factor", float("nan")),
        ("params.pos_emb_cf", None),
        ("params.rope_base", 10000),
        ("params", [768]),
    ],
)
def test_another_network_is_refused_naming_key_and_file(tmp_path: Path, wrap, path: str, value: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps(wrap(changed(path, value))))
    torch.save({"norm.weight": torch.ones(768)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ReconError, match=r"config\.json: .*" + path.split(".")[-1]) as error:
        neurovfm.load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "statistics", [[[float("nan")], [0.2]], [[0.3], [float("inf")]], [[0.3], [0]], [["a"], [0.2]], [[True], [0.2]], 3]
)
def test_statistics_must_be_finite_numbers(tmp_path: Path, statistics: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**UPSTREAM, "normalization_stats": statistics}))
    with pytest.raises(ReconError, match=r"config\.json: 'normalization_stats'"):
        neurovfm.load(tmp_path)


def test_complex_integer_and_zero_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"norm.weight": torch.ones(4, dtype=torch.complex64)}, tmp_path / "complex.bin")
    with pytest.raises(ReconError, match=r"complex\.bin: tensor 'norm\.weight' is complex"):
        read_tensors(tmp_path / "complex.bin")
    layer = torch.nn.Linear(3, 2)
    with pytest.raises(ReconError, match=r"2 of another type than floating point \(weight, bias\)"):
        check_tensors(layer, {"weight": torch.ones(2, 3, dtype=torch.int64), "bias": torch.zeros(2).int()}, Path("w"))
    with pytest.raises(ReconError, match=r"w: .*1 all zero \(weight\)"):
        check_tensors(layer, {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, Path("w"))
    check_tensors(layer, {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, Path("w"))


def test_a_weight_file_a_folder_and_a_student_checkpoint_give_the_same_encoder(
    run_cli, encoder: NeuroVFM, head, head_folder: Path, tmp_path: Path
) -> None:
    stored = {name: tensor.bfloat16() for name, tensor in encoder.network.state_dict().items()}
    (tmp_path / "config.json").write_text(json.dumps(UPSTREAM))
    save_file(stored, tmp_path / "model.safetensors")
    student = {f"model.student.vision_encoder.{name}": value for name, value in stored.items()}
    others = {"model.teacher.vision_encoder.norm.weight": torch.ones(768), "model.predictor.mask": torch.ones(3)}
    torch.save({"state_dict": {**others, **student}}, tmp_path / "student.ckpt")
    for weights in (tmp_path, tmp_path / "model.safetensors", tmp_path / "student.ckpt"):
        found = load_encoder("neurovfm", weights)
        for name, tensor in found.network.state_dict().items():  # type: ignore[attr-defined]
            assert torch.equal(tensor, stored[name].float()), name
    (tmp_path / "alone").mkdir()
    (tmp_path / "student.ckpt").rename(tmp_path / "alone" / "student.ckpt")
    with pytest.raises(ReconError, match=r"alone/config\.json: no such file"):
        load_encoder("neurovfm", tmp_path / "alone" / "student.ckpt")
    volume = save_nifti(tmp_path / "volume.nii.gz", (400 * head).astype("int16"))
    chosen = ("--encoder", "neurovfm", "--weights", tmp_path / "model.safetensors")
    found = run_cli("encode", "doctor", volume, *chosen, "--json").json
    assert found["usable"]
    assert found["pixel_type"] == "int16"
    assert found["parameters"] == 85_803_234
    scored = run_cli(
        *("encode", "dx", "--reference", f"FLAIR={volume}", "--reconstruction", f"FLAIR={volume}"),
        *("--head", head_folder / "pytorch_model.bin", *chosen[2:], "--replicas", 0, "--json"),
    ).json
    assert len(scored["labels"]) == 74
    assert {row["delta"] for row in scored["labels"]} == {0}


def test_a_hub_name_is_answered_with_the_command_that_fetches_it(run_cli, head, tmp_path: Path) -> None:
    volume = save_nifti(tmp_path / "volume.nii.gz", head)
    outcome = run_cli(
        *("encode", "drift", volume, "--reference", volume, "--encoder", "neurovfm"),
        *("--weights", "mlinslab/neurovfm-encoder"),
    )
    assert outcome.code == 2
    assert "hf download mlinslab/neurovfm-encoder --local-dir" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert "hf download mlinslab/neurovfm-encoder" in run_cli("encode", "list").out
    with pytest.raises(ReconError, match="hf download mlinslab/neurovfm-dx-mri"):
        load_head("mlinslab/neurovfm-dx-mri")


def head_folder_of(folder: Path, shape: HeadShape, **params: object) -> DiagnosticNetwork:
    torch.manual_seed(0)
    network = DiagnosticNetwork(shape)
    with torch.no_grad():
        network.output_bias.normal_()
        network.output_scale.uniform_(0.5, 2)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({"which": "classify_then_aggregate", "params": params}))
    (folder / "mri_label_names.txt").write_text("a\nb\n")
    return network


def test_heads_of_another_shape_are_loaded_as_their_tensors_say(tmp_path: Path) -> None:
    shape = HeadShape(2, hidden=16, classifier_hidden=(24, 8), gated=False, normed=False)
    network = head_folder_of(tmp_path, shape, hidden_dim=16, mlp_hidden_dims=[24, 8], use_gating=False, use_norm=False)
    head = load_head(tmp_path / "pytorch_model.bin")
    assert head.labels == ("a", "b")
    tokens = torch.randn(7, 768)
    weights = {name: tensor.double() for name, tensor in network.state_dict().items()}

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    with torch.no_grad():
        attention = linear(torch.tanh(linear(tokens.double(), "attention_V")), "W").softmax(dim=0)
        hidden = torch.nn.functional.gelu(linear(tokens.double(), "mlp.mlp.0"))
        each = linear(torch.nn.functional.gelu(linear(hidden, "mlp.mlp.2")), "mlp.mlp.4")
        expected = weights["output_scale"] * (attention * each).sum(dim=0) + weights["output_bias"]
        found = head.network(tokens).sum(dim=0) + head.network.output_bias
    assert float((found - expected).abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"hidden_dim": 512}, "hidden_dim 512, this network has 384"),
        ({"use_norm": False}, "use_norm False, this network has True"),
        ({"use_gating": False}, "use_gating False"),
        ({"W_out": 74}, "W_out 74, this network has 2"),
        ({"use_output_bias_scale": False}, "use_output_bias_scale False"),
        ({"temperature": 2}, "'temperature' is not known"),
    ],
)
def test_a_head_s_configuration_must_not_contradict_its_tensors(tmp_path: Path, params: dict, said: str) -> None:
    head_folder_of(tmp_path, HeadShape(2), **params)
    with pytest.raises(ReconError, match=rf"config\.json: .*{said}"):
        load_head(tmp_path)


@pytest.mark.parametrize("thresholds", [["a", 0.0], [float("nan"), 0.0], [0.0], [None, 0.0], [True, 0.0], "ab"])
def test_thresholds_must_be_finite_logits(tmp_path: Path, thresholds: object) -> None:
    head_folder_of(tmp_path, HeadShape(2))
    (tmp_path / "config.json").write_text(json.dumps({"thresholds": thresholds}))
    with pytest.raises(ReconError, match=r"config\.json: 'thresholds' needs one finite logit"):
        load_head(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "mri_label_names.txt").unlink()
    with pytest.raises(ReconError, match=r"label_names\.txt: no such file.*ct_label_names\.txt of github\.com"):
        load_head(tmp_path)

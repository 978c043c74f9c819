"""NeuroVFM's diagnostic head: classify every token, then aggregate with one attention map per label.

Written from the published description (arXiv 2511.18640); tensor names are those of its public weights. The logit of
label c is an exact sum over tokens i of all series, scale_c * sum_i a_ic h_ic + bias_c. Its outputs are scores: the
calibration of the public head was measured off by 0.251 on external data, so nothing here calls them probabilities.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recon.digest import file_sha256
from recon.encode.interface import Embedding
from recon.encode.neurovfm_configuration import check_keys, is_number
from recon.encode.weights import check_tensors, read_tensors, weight_file
from recon.errors import ReconError
from recon.foreign.json_file import read_json

WIDTH = 768
STROKE_FAMILY = ("acute_ischemic_stroke", "chronic_ischemic_stroke", "lacunar_stroke", "small_vessel_ischemic_disease")
NAMES = ("classify_then_aggregate", "addmil")  # the second is upstream's older name of the same
LABEL_FILES = ("label_names.txt", "mri_label_names.txt", "ct_label_names.txt")
SHIPPED_LABELS = Path(__file__).parent / "head_labels" / "neurovfm-mri.txt"  # of the public head for MRI, in its order
SHIPPED = "shipped with recon: those of upstream's neurovfm-dx-mri"
LABELS_FROM = (
    "upstream keeps them apart from the weights, in neurovfm/pipelines/resources/ct_label_names.txt of "
    "github.com/MLNeurosurg/neurovfm (82 names; the 74 of the head for MRI come with recon)"
)


@dataclass(frozen=True)
class HeadShape:
    """What may differ between heads; the defaults are the public ones'."""

    labels: int
    hidden: int = 384  # of the attention
    classifier_hidden: tuple[int, ...] = (384,)
    gated: bool = True
    normed: bool = True


class TokenClassifier(nn.Module):
    """Per-token logits ``[token, label]``; the attribute name repeats because the public weights say ``mlp.mlp.0``."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        widths = (WIDTH, *shape.classifier_hidden, shape.labels)
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Linear(narrow, wide), nn.GELU()]
        self.mlp = nn.Sequential(*layers[:-1])

    def forward(self, tokens: Tensor) -> Tensor:
        return self.mlp(tokens)


class DiagnosticNetwork(nn.Module):
    """Tokens of all series of one study ``[token, 768]`` to additive contributions ``[token, label]``."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.attention_V = nn.Linear(WIDTH, shape.hidden)
        if shape.gated:
            self.gating_V = nn.Linear(WIDTH, shape.hidden)
        self.W = nn.Linear(shape.hidden, shape.labels)
        self.norm_attn = nn.LayerNorm(WIDTH, eps=1e-6) if shape.normed else nn.Identity()
        self.norm_mlp = nn.LayerNorm(WIDTH, eps=1e-6) if shape.normed else nn.Identity()
        self.mlp = TokenClassifier(shape)
        self.gated = shape.gated
        self.output_bias = nn.Parameter(torch.zeros(shape.labels))
        self.output_scale = nn.Parameter(torch.ones(shape.labels))

    def forward(self, tokens: Tensor) -> Tensor:
        """Contribution of every token to every logit; their sum over tokens plus ``output_bias`` is the logit."""
        normed = self.norm_attn(tokens)
        features = torch.tanh(self.attention_V(normed))
        if self.gated:
            features = features * torch.sigmoid(self.gating_V(normed))
        attention = torch.softmax(self.W(features), dim=0)
        return self.output_scale * attention * self.mlp(self.norm_mlp(tokens))


@dataclass(frozen=True, eq=False)
class StudyScores:
    """Scores of one study, one logit per label, and what each token of each series added to it."""

    logits: Tensor  # [label] float64
    contributions: tuple[Tensor, ...]  # per series [token, label] float64; sum over all + bias = logits
    bias: Tensor  # [label] float64


@dataclass(frozen=True, eq=False)
class DiagnosticHead:
    """A loaded head: its labels, the logit above which upstream calls a label present, and its provenance."""

    network: DiagnosticNetwork
    labels: tuple[str, ...]
    thresholds: tuple[float, ...]  # logits
    weights_hash: str
    labels_from: str  # a file's name, or SHIPPED

    @property
    def labels_hash(self) -> str:
        """SHA-256 of the label names in their order, one a line: two heads whose digests differ say other things."""
        return hashlib.sha256("\n".join(self.labels).encode()).hexdigest()

    def said_of_labels(self) -> str:
        """Where the label names are from, with the start of their digest."""
        return f"names of the {len(self.labels)} labels: {self.labels_from} (sha256 {self.labels_hash[:12]})"

    def score(self, series: Sequence[Embedding]) -> StudyScores:
        """Score one study from the embeddings of its series. Raises ReconError when features are not finite."""
        if not series:
            raise ReconError("a study needs at least one series to be scored")
        tokens = torch.cat([embedding.tokens for embedding in series])
        if tokens.shape[1] != WIDTH:
            raise ReconError(f"this head takes {WIDTH} features a token; the encoder gives {tokens.shape[1]}")
        with torch.inference_mode():
            contributions = self.network(tokens.float()).double()
            bias = self.network.output_bias.double()
        if not torch.isfinite(contributions).all():
            raise ReconError("the head gave scores that are not finite; its weights or the features are damaged")
        parts = torch.split(contributions, [len(embedding.tokens) for embedding in series])
        return StudyScores(contributions.sum(dim=0) + bias, tuple(parts), bias)

    def index(self, label: str) -> int:
        """Position of a label. Raises ReconError naming the nearest labels that exist."""
        if label in self.labels:
            return self.labels.index(label)
        close = [name for name in self.labels if label.lower() in name.lower()][:5] or list(self.labels[:5])
        raise ReconError(f"label '{label}': not one of this head's {len(self.labels)}; e.g. {', '.join(close)}")


def ordered_labels(labels: Sequence[str]) -> list[int]:
    """Positions of the labels with the stroke family first, then in the head's own order."""
    first = [labels.index(name) for name in STROKE_FAMILY if name in labels]
    return first + [position for position in range(len(labels)) if position not in first]


def load_head(weights: str | Path) -> DiagnosticHead:
    """Load a head strictly from a folder with ``config.json``, weights and label names, or the weight file in one.

    Label names are the list ``label_names`` of the configuration or the lines of ``label_names.txt`` (or upstream's
    ``mri_label_names.txt``). A head of 74 labels that has neither gets the names that come with recon, and
    ``labels_from`` says so: with as many outputs it may still be another head. Thresholds are ``thresholds`` (logits,
    one per label) or zero, which is upstream's rule.
    Other hidden sizes, and heads without norms or gate, are loaded as their tensors and configuration say.

    Raises ReconError for a missing file, label names that do not fit, missing, extra or misshapen tensors, and a
    configuration that contradicts them.
    """
    weights = Path(weights)
    if not weights.exists():
        raise ReconError(
            f"{weights}: neither a folder with config.json, weights and label names nor a weight file in one; nothing "
            "is downloaded: request access at huggingface.co/mlinslab/neurovfm-dx-mri, then 'hf download "
            "mlinslab/neurovfm-dx-mri --local-dir FOLDER'"
        )
    folder = weights if weights.is_dir() else weights.parent
    described = folder / "config.json"
    config = read_json(described)
    if config.get("which", NAMES[0]) not in NAMES:
        raise ReconError(f"{described}: head '{config['which']}'; only classify_then_aggregate is known")
    file = weight_file(weights)
    tensors = read_tensors(file)
    shape = _shape_of(tensors, file)
    _check_configuration(config, shape, described)
    thresholds = config.get("thresholds", [0.0] * shape.labels)
    if not isinstance(thresholds, list) or len(thresholds) != shape.labels or not all(map(is_number, thresholds)):
        raise ReconError(f"{described}: 'thresholds' needs one finite logit for each of the {shape.labels} labels")
    labels, labels_from = _label_names(folder, config, shape.labels)
    network = DiagnosticNetwork(shape)
    check_tensors(network, tensors, file)
    network.load_state_dict(tensors, strict=True)
    return DiagnosticHead(
        network.float().eval(), labels, tuple(float(value) for value in thresholds), file_sha256(file), labels_from
    )


def shipped_labels() -> tuple[str, ...]:
    """The 74 names of the public head for MRI, in its order; whose they are stands beside them."""
    return tuple(SHIPPED_LABELS.read_text(encoding="utf-8").split())


def _shape_of(tensors: Mapping[str, Tensor], file: Path) -> HeadShape:
    """The shape that a head's tensors speak of; ``check_tensors`` then holds every one of them against it."""
    for name in ("output_bias", "output_scale", "attention_V.weight", "W.weight", "mlp.mlp.0.weight"):
        if name not in tensors or not tensors[name].ndim:
            raise ReconError(
                f"{file}: no tensor '{name}'; these are not the weights of a diagnostic head that classifies tokens "
                "and adds them up (with use_output_bias_scale)"
            )
    layers = [
        tensors[name] for name in (f"mlp.mlp.{2 * layer}.weight" for layer in range(len(tensors))) if name in tensors
    ]
    return HeadShape(
        labels=int(tensors["output_bias"].numel()),
        hidden=len(tensors["attention_V.weight"]),
        classifier_hidden=tuple(len(layer) for layer in layers[:-1]),
        gated="gating_V.weight" in tensors,
        normed="norm_attn.weight" in tensors,
    )


def _check_configuration(config: Mapping[str, Any], shape: HeadShape, path: Path) -> None:
    """What upstream's ``params`` state against the tensors. Raises ReconError in one line."""
    params = config.get("params", {})
    if not isinstance(params, Mapping):
        raise ReconError(f"{path}: 'params' must be an object, found {type(params).__name__}")
    network = {
        "dim": (WIDTH,),
        "hidden_dim": (shape.hidden,),
        "W_out": (shape.labels,),
        "mlp_out_dim": (shape.labels,),
        "mlp_hidden_dims": (list(shape.classifier_hidden),),
        "use_gating": (shape.gated,),
        "use_norm": (shape.normed,),
        "use_output_bias_scale": (True,),
    }
    check_keys(params, network, ("drop_rate", "init_std"), path)


def _label_names(folder: Path, config: dict[str, object], count: int) -> tuple[tuple[str, ...], str]:
    """Names, and where they are from."""
    names = config.get("label_names")
    where = folder / "config.json"
    if names is None:
        found = [folder / name for name in LABEL_FILES if (folder / name).is_file()]
        if not found:
            if len(shipped := shipped_labels()) == count:
                return shipped, SHIPPED
            raise ReconError(
                f"{folder / LABEL_FILES[0]}: no such file; put the {count} names of this head there, one a line; "
                f"{LABELS_FROM}"
            )
        where = found[0]
        names = [line.strip() for line in _text(where).splitlines() if line.strip()]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ReconError(f"{where}: label names must be a list of strings; found {json.dumps(names)[:60]}")
    if len(names) != count or len(set(names)) != count:
        raise ReconError(f"{where}: {len(set(names))} different label names for a head of {count} labels")
    return tuple(str(name) for name in names), where.name


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ReconError(f"{path}: not readable as text in UTF-8 ({error}); copy it again") from error

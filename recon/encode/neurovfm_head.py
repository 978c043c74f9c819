"""NeuroVFM's diagnostic head: classify every token, then aggregate with one attention map per label.

Written from the published description (arXiv 2511.18640); tensor names are those of its public weights. The logit of
label c is an exact sum over tokens i of all series, scale_c * sum_i a_ic h_ic + bias_c. Its outputs are scores: the
calibration of the public head was measured off by 0.251 on external data, so nothing here calls them probabilities.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from recon.digest import file_sha256
from recon.encode.interface import Embedding
from recon.encode.weights import check_tensors, find_weight_file, read_tensors
from recon.errors import ReconError
from recon.foreign.json_file import read_json

WIDTH, HIDDEN = 768, 384
STROKE_FAMILY = ("acute_ischemic_stroke", "chronic_ischemic_stroke", "lacunar_stroke", "small_vessel_ischemic_disease")
LABEL_FILE = "label_names.txt"


class TokenClassifier(nn.Module):
    """Per-token logits ``[token, label]``; the attribute name repeats because the public weights say ``mlp.mlp.0``."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, labels))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.mlp(tokens)


class DiagnosticNetwork(nn.Module):
    """Tokens of all series of one study ``[token, 768]`` to additive contributions ``[token, label]``."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.attention_V = nn.Linear(WIDTH, HIDDEN)
        self.gating_V = nn.Linear(WIDTH, HIDDEN)
        self.W = nn.Linear(HIDDEN, labels)
        self.norm_attn = nn.LayerNorm(WIDTH, eps=1e-6)
        self.norm_mlp = nn.LayerNorm(WIDTH, eps=1e-6)
        self.mlp = TokenClassifier(labels)
        self.output_bias = nn.Parameter(torch.zeros(labels))
        self.output_scale = nn.Parameter(torch.ones(labels))

    def forward(self, tokens: Tensor) -> Tensor:
        """Contribution of every token to every logit; their sum over tokens plus ``output_bias`` is the logit."""
        normed = self.norm_attn(tokens)
        gated = torch.tanh(self.attention_V(normed)) * torch.sigmoid(self.gating_V(normed))
        attention = torch.softmax(self.W(gated), dim=0)
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


def load_head(folder: str | Path) -> DiagnosticHead:
    """Load a head from a folder with ``config.json``, weights, and label names, strictly.

    Label names are the list ``label_names`` of the configuration or the lines of ``label_names.txt``; thresholds are
    ``thresholds`` (logits, one per label) or zero, which is upstream's rule.

    Raises ReconError for a missing file, label names that do not fit, missing, extra or misshapen tensors.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    if config.get("which", "classify_then_aggregate") != "classify_then_aggregate":
        raise ReconError(f"{folder / 'config.json'}: head '{config['which']}'; only classify_then_aggregate is known")
    weight_file = find_weight_file(folder)
    tensors = read_tensors(weight_file)
    if "output_bias" not in tensors:
        raise ReconError(f"{weight_file}: no tensor 'output_bias'; these are not the weights of a diagnostic head")
    count = int(tensors["output_bias"].numel())
    labels = _label_names(folder, config, count)
    network = DiagnosticNetwork(count)
    check_tensors(network, tensors, weight_file)
    network.load_state_dict(tensors, strict=True)
    thresholds = config.get("thresholds", [0.0] * count)
    if not isinstance(thresholds, list) or len(thresholds) != count:
        raise ReconError(f"{folder / 'config.json'}: 'thresholds' needs one logit for each of the {count} labels")
    return DiagnosticHead(
        network.float().eval(), tuple(labels), tuple(float(value) for value in thresholds), file_sha256(weight_file)
    )


def _label_names(folder: Path, config: dict[str, object], count: int) -> list[str]:
    names = config.get("label_names")
    where = folder / "config.json"
    if names is None:
        where = folder / LABEL_FILE
        if not where.is_file():
            raise ReconError(
                f"{folder}: no label names; put the {count} names of this head, one a line, into {where.name} "
                "(the public repository's resources folder has them)"
            )
        names = [line.strip() for line in where.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ReconError(f"{where}: label names must be a list of strings; found {json.dumps(names)[:60]}")
    if len(names) != count or len(set(names)) != count:
        raise ReconError(f"{where}: {len(set(names))} different label names for a head of {count} labels")
    return [str(name) for name in names]

"""A task head on an encoder's tokens: pooled to one vector and classified; with masks, token by token as well."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recon.encode.interface import DifferentiableEncoder, PreparedVolume
from recon.encode.latent_prediction.network import draw_weights
from recon.encode.tasks.anatomy import FEATURES, anatomy_features, shuffled
from recon.encode.tasks.options import TaskFitOptions
from recon.encode.tasks.pooling import SliceAttention, slice_vectors


@dataclass(frozen=True, eq=False)
class Answer:
    """What a task model says of one case."""

    logits: Tensor  # [class]
    token_logits: tuple[Tensor, ...]  # by view, [token]: of lesion in the token
    slice_weights: Tensor | None  # [slice], with pool slices


class TaskHead(nn.Module):
    """Tokens of one case (one or several views) to logits.

    ``mean`` and ``deviation`` standardise the pooled vector; they and ``classify`` begin as those of a linear probe on
    the frozen encoder, so a model that has not been trained yet is that probe. So does ``token``, with masks.
    """

    mean: Tensor
    deviation: Tensor
    anatomy_mean: Tensor
    anatomy_deviation: Tensor

    def __init__(
        self, features: int, pooled: int, classes: int, pool: str, anatomy: bool = False, shuffled: bool = False
    ) -> None:
        super().__init__()
        self.pool, self.shuffled = pool, shuffled
        size = pooled if pool == "encoder" else 2 * features
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.attend = SliceAttention(size) if pool == "slices" else None
        self.classify = nn.Linear(size, classes)
        self.token = nn.Linear(features, 1)
        self.anatomy = nn.Linear(FEATURES, classes) if anatomy else None
        self.gate = nn.Linear(FEATURES, 1) if anatomy else None
        if anatomy:
            self.register_buffer("anatomy_mean", torch.zeros(FEATURES))
            self.register_buffer("anatomy_deviation", torch.ones(FEATURES))

    def vectors(self, encoded: list[tuple[Tensor, Tensor]], views: list[PreparedVolume]) -> Tensor:
        """What is pooled: one vector a view, or one a slice of all views, ``[vector, feature]`` standardised."""
        if self.pool == "encoder":
            found = torch.stack([pooled for _, pooled in encoded])
        else:
            found = torch.cat(
                [slice_vectors(tokens, view.coords[:, 0]) for (tokens, _), view in zip(encoded, views, strict=True)]
            )
        return (found - self.mean) / self.deviation

    def forward(self, encoded: list[tuple[Tensor, Tensor]], views: list[PreparedVolume]) -> Answer:
        vectors = self.vectors(encoded, views)
        weights = self.attend(vectors) if self.attend is not None else None
        vector = vectors.mean(dim=0) if weights is None else weights @ vectors
        tokens = tuple(self.token(each)[:, 0] for each, _ in encoded)
        logits = self.classify(vector)
        if self.anatomy is not None and self.gate is not None:
            read = (self.read(tokens, views) - self.anatomy_mean) / self.anatomy_deviation
            logits = logits + torch.sigmoid(self.gate(read)) * self.anatomy(read)
        return Answer(logits, tokens, weights)

    def read(self, token_logits: Sequence[Tensor], views: Sequence[PreparedVolume]) -> Tensor:
        """What the heatmap says by anatomy, ``[FEATURES]``, averaged over views: late fusion, read, not trained
        through."""
        chances = [said.detach().sigmoid() for said in token_logits]
        if self.shuffled:
            chances = [shuffled(each, view) for each, view in zip(chances, views, strict=True)]
        seen = [anatomy_features(each, view) for each, view in zip(chances, views, strict=True)]
        return torch.stack(seen).mean(dim=0)


def answer(encoder: DifferentiableEncoder, head: TaskHead, views: list[PreparedVolume]) -> Answer:
    """What the encoder and the head say of one case, given in one or several views."""
    return head([encoder.features(view) for view in views], views)


def random_head(
    features: int, pooled: int, classes: int, options: TaskFitOptions, generator: torch.Generator
) -> TaskHead:
    """The head before it is given a probe's weights: equal slices, no token called a lesion or not, no anatomy."""
    head = TaskHead(features, pooled, classes, options.pool, options.anatomy, options.shuffled_anatomy)
    draw_weights(head, generator)
    with torch.no_grad():
        head.token.weight.zero_()
        if head.attend is not None:
            head.attend.weigh.weight.zero_()
        if head.anatomy is not None:
            head.anatomy.weight.zero_()
    return head

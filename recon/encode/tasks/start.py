"""What a task model begins as: linear probes on the frozen encoder, of the label and, with masks, of lesion in a token.

A heatmap that begins untrained says nothing for hundreds of samples, and what reads it (the anatomy) nothing either.
"""

import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recon.encode.interface import DifferentiableEncoder
from recon.encode.probes import linear
from recon.encode.probes.store import Embeddings
from recon.encode.tasks.network import TaskHead
from recon.encode.tasks.options import TaskFitOptions
from recon.encode.tasks.volumes import Case, View, read_view, some_tokens
from recon.seeding import torch_generator

TOKENS = 200_000  # that a regression on tokens is fitted to, at most
PENALTY = 1e-3  # on squared weights of standardised features, over two


def probe_start(
    encoder: DifferentiableEncoder,
    head: TaskHead,
    cases: Sequence[Case],
    classes: Sequence[int],
    options: TaskFitOptions,
) -> dict[str, NDArray[np.float32]]:
    """A linear probe on what the head pools of the frozen encoder, by the names of its tensors; with pixel supervision
    a logistic regression of lesion on tokens (``token_weight``, ``token_bias``), and with anatomy the mean and
    deviation of what it reads in that heatmap. Before this the head standardises nothing."""
    with tempfile.TemporaryFile() as kept:  # features of all cases may be more than memory holds
        start = _probes(encoder, head, cases, classes, options, kept)
        return start | (_anatomy_scale(encoder, head, cases, options, kept) if options.anatomy else {})


def _probes(
    encoder: DifferentiableEncoder,
    head: TaskHead,
    cases: Sequence[Case],
    classes: Sequence[int],
    options: TaskFitOptions,
    kept: IO[bytes],
) -> dict[str, NDArray[np.float32]]:
    """Both regressions; ``kept`` gets every view's features, which are read again once there is a heatmap."""
    vectors, tokens, shares = [], [], []
    most = max(1, TOKENS // sum(len(case.views) for case in cases))
    with torch.no_grad():
        for case, views in _seen(cases, options):
            encoded = [encoder.features(view.prepared) for view in views]
            for found, _ in encoded if options.anatomy else ():
                np.save(kept, found.cpu().numpy())
            vectors.append(head.vectors(encoded, [view.prepared for view in views]).mean(dim=0).cpu().numpy())
            generator = torch_generator(options.seed, "probe-lesions", case.case)
            for (found, _), view in zip(encoded, views, strict=True):
                if options.pixel_weight and view.lesion is not None:
                    rows = torch.randperm(len(found), generator=generator)[:most]
                    tokens.append(found.cpu()[rows])
                    shares.append(view.lesion[rows])
    empty = np.zeros((0, 0), np.float16)
    embeddings = Embeddings(
        encoder.name, encoder.weights_hash, np.stack(vectors).astype(np.float32), (empty,) * len(cases),
        tuple(case.person for case in cases), tuple(case.case for case in cases), np.ones(len(cases)),
        ("",) * len(cases), {},
    )  # fmt: skip
    labels = np.array([classes.index(case.label) for case in cases])
    start = linear.fit(embeddings, labels, len(classes), options.seed)
    if tokens:
        weight, bias = lesion_regression(torch.cat(tokens), torch.cat(shares))
        start |= {"token_weight": weight.numpy()[None], "token_bias": bias.numpy()[None]}
        with torch.no_grad():
            head.token.weight.copy_(weight[None])
            head.token.bias.copy_(bias[None])
    return start


def _anatomy_scale(
    encoder: DifferentiableEncoder, head: TaskHead, cases: Sequence[Case], options: TaskFitOptions, kept: IO[bytes]
) -> dict[str, NDArray[np.float32]]:
    """Mean and deviation of what anatomy reads in the heatmap of the features in ``kept``."""
    kept.seek(0)
    read = []
    with torch.no_grad():
        for _, views in _seen(cases, options):
            encoded = [torch.from_numpy(np.load(kept)).to(encoder.device) for _ in views]
            said = [head.token(each)[:, 0] for each in encoded]
            read.append(head.read(said, [view.prepared for view in views]).cpu())
    features = torch.stack(read)
    return {
        "anatomy_mean": features.mean(dim=0).numpy(),
        "anatomy_deviation": (features.std(dim=0) + 1e-3).numpy(),
    }


def lesion_regression(tokens: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Weight ``[feature]`` and bias of a penalised logistic regression of the share of lesion ``[token]`` on
    ``tokens`` ``[token, feature]``."""
    mean, deviation = tokens.mean(dim=0), tokens.std(dim=0) + 1e-6
    features = (tokens - mean) / deviation
    rare = shares.mean().clamp(1e-4, 0.5)
    weight, bias = torch.zeros(tokens.shape[1], requires_grad=True), torch.logit(rare).requires_grad_()
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(features @ weight + bias, shares)
        loss = loss + PENALTY / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    scaled = weight.detach() / deviation
    return scaled, bias.detach() - (scaled * mean).sum()


def _seen(cases: Sequence[Case], options: TaskFitOptions) -> Iterator[tuple[Case, list[View]]]:
    """Each case with its views, as many tokens of them as a step of training draws."""
    for case in cases:
        generator = torch_generator(options.seed, "probe-tokens", case.case)
        yield case, [some_tokens(read_view(path), options.tokens, generator) for path in case.views]

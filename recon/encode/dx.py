"""Study-level scores of the diagnostic head before and after reconstruction: changes and threshold flips.

Scores are logits and are never turned into probabilities: the public head's calibration is known to be off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.encode.exchangeable import judge
from recon.encode.interface import Embedding, Encoder, PreparedVolume
from recon.encode.neurovfm_head import STROKE_FAMILY, DiagnosticHead, ordered_labels
from recon.encode.noise import add_noise, noise_level
from recon.encode.options import NoiseReplicas
from recon.encode.volumes import Series
from recon.errors import ReconError
from recon.progress import Report, silent
from recon.seeding import numpy_generator


@dataclass(frozen=True)
class LabelChange:
    """What happened to one label's score."""

    label: str
    stroke: bool
    score_reference: float  # logit
    score_reconstruction: float  # logit
    delta: float
    noise_delta: float | None  # largest |change| that noise alone made; None without replicas
    beyond_noise: bool | None  # |delta| is larger than that; None without replicas
    threshold: float  # logit
    flip: str  # "appears", "disappears" or "": crossed its threshold, by more than noise where that is known
    delta_by_series: Mapping[str, float]  # sums to ``delta``


@dataclass(frozen=True)
class StudyChange:
    """All labels of one study, the stroke family first."""

    labels: tuple[LabelChange, ...]
    series: tuple[str, ...]
    tokens: Mapping[str, int]  # per series
    replicas: int
    # Of all labels the most unusual change over what noise makes of it, and the largest such ratio of noise alone:
    # with so many labels some always go beyond their own noise. None without replicas.
    largest_ratio: float | None = None
    noise_ratio: float | None = None

    @property
    def inside(self) -> bool | None:
        """Whether no label changed more unusually than noise makes one of them; noise alone is called outside in
        1 / (replicas + 1) of studies. None without replicas."""
        return (
            None if self.largest_ratio is None or self.noise_ratio is None else self.largest_ratio <= self.noise_ratio
        )

    @property
    def flips(self) -> tuple[LabelChange, ...]:
        """Labels whose score crossed its threshold by more than noise (where that is known)."""
        return tuple(change for change in self.labels if change.flip)


def compare_study(
    encoder: Encoder,
    head: DiagnosticHead,
    references: Mapping[str, Series],
    reconstructions: Mapping[str, Series],
    replicas: NoiseReplicas,
    *,
    slice_axis: int | None = None,
    report: Report = silent,
) -> StudyChange:
    """Score one study from its references and again with the reconstructions in their place.

    ``references`` maps the name of a series (FLAIR, DWI, ADC, T1 ...) to its image; ``reconstructions`` has the same
    names, already on the references' grids, and is prepared with the references' preprocessing. A series that was not
    accelerated may stand in both. ``replicas`` of the scan's own noise give the change that noise alone makes.

    Raises ReconError when the names differ, or the encoder is not the head's.
    """
    if set(references) != set(reconstructions) or not references:
        raise ReconError(
            f"series of the reference ({', '.join(sorted(references)) or 'none'}) and of the reconstruction "
            f"({', '.join(sorted(reconstructions)) or 'none'}) must have the same names"
        )
    if encoder.name != "neurovfm":
        raise ReconError(f"the diagnostic head reads tokens of 'neurovfm', not of '{encoder.name}'")
    names = tuple(references)
    prepared: dict[str, PreparedVolume] = {}
    before: list[Embedding] = []
    after: list[Embedding] = []
    rounds = len(names) + replicas.replicas * len(names) / 2  # a replica is encoded once, a series twice
    for number, name in enumerate(names):
        report(f"series {name}", number / rounds)
        series = references[name]
        prepared[name] = encoder.prepare(series.pixels, series.affine, slice_axis=slice_axis)
        before.append(encoder.encode(prepared[name]))
        rebuilt = encoder.prepare(reconstructions[name].pixels, series.affine, prepared[name].preprocessing)
        after.append(encoder.encode(rebuilt))
    reference, reconstruction = head.score(before), head.score(after)
    behind = len(names) / rounds

    def advance(stage: str, fraction: float) -> None:
        report(stage, behind + (1 - behind) * fraction)

    noise = _noise_changes(encoder, head, references, prepared, reference.logits, replicas, advance)
    largest = None if noise is None else noise.abs().amax(0)
    judged = None if noise is None else judge(reconstruction.logits - reference.logits, noise)
    rows = []
    for column in ordered_labels(head.labels):
        first, second = float(reference.logits[column]), float(reconstruction.logits[column])
        threshold = head.thresholds[column]
        limit = None if largest is None else float(largest[column])
        beyond = None if limit is None else abs(second - first) > limit
        rows.append(
            LabelChange(
                label=head.labels[column],
                stroke=head.labels[column] in STROKE_FAMILY,
                score_reference=first,
                score_reconstruction=second,
                delta=second - first,
                noise_delta=limit,
                beyond_noise=beyond,
                threshold=threshold,
                flip="" if beyond is False else _flip(first, second, threshold),
                delta_by_series={
                    name: float((new[:, column] - old[:, column]).sum())
                    for name, old, new in zip(names, reference.contributions, reconstruction.contributions, strict=True)
                },
            )
        )
    return StudyChange(
        tuple(rows),
        names,
        {name: len(prepared[name].coords) for name in names},
        replicas.replicas,
        None if judged is None else float(judged.ratios.max()),
        None if judged is None else judged.limit,
    )


def _noise_changes(
    encoder: Encoder,
    head: DiagnosticHead,
    references: Mapping[str, Series],
    prepared: Mapping[str, PreparedVolume],
    logits: Tensor,
    replicas: NoiseReplicas,
    report: Report,
) -> Tensor | None:
    """Changes of every logit ``[replica, label]`` of studies whose every series got one more draw of its own noise."""
    if replicas.replicas < 1:
        return None
    levels = {
        name: noise_level(s, prepared[name].preprocessing.slice_axis, replicas.snr)[0] for name, s in references.items()
    }
    changes = []
    for index in range(replicas.replicas):
        report("noise replicas", index / replicas.replicas)
        noisy: Sequence[Embedding] = [
            encoder.encode(
                encoder.prepare(
                    series.in_pixel_type(
                        add_noise(series.values, levels[name], numpy_generator(replicas.seed, "dx-noise", name, index))
                    ),
                    series.affine,
                    prepared[name].preprocessing,
                )
            )
            for name, series in references.items()
        ]
        changes.append(head.score(noisy).logits - logits)
    return torch.stack(changes)


def _flip(first: float, second: float, threshold: float) -> str:
    if (first > threshold) == (second > threshold):
        return ""
    return "appears" if second > threshold else "disappears"

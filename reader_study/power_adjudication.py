"""Power with adjudication: a third reader's scores in place of those of the readers who disagree, study by study.

The third reader is drawn as another one, without leniency or taste of his own. The true difference is that of the
scores that are analysed, so that a difference of the margin is the type I error: the new arm's latent mean is solved
for it on a large simulated sample.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import optimize

from reader_study.arrays import Floats
from reader_study.power_options import Assumptions
from reader_study.power_scores import Design, draw_scores, latent_means, leave_unplanned
from recon.errors import ReconError

_SAMPLE = 100_000  # cases on which the analysed difference is known to some thousandths of a point
_STREAM = 20_000_103  # fixed: the same design always gets the same means


def adjudicated_scores(
    design: Design, assumptions: Assumptions, means: Sequence[float], count: int, generator: np.random.Generator
) -> Floats:
    """Scores `[study, arm, reader, case]` as they are analysed; arguments as those of ``power.draw_scores``."""
    drawn = draw_scores(design, assumptions, means, count, generator, third=True)
    own, third = drawn[:, :, :-1], drawn[:, :, -1:]
    if design.readers_per_case is not None:
        own = leave_unplanned(own, design.readers_per_case, generator)
    return decided(own, third, _difference(design))


def decided(own: Floats, third: Floats, difference: int) -> Floats:
    """``own`` `[..., reader, case]`, NaN unread, with the ``third`` reader's where two are ``difference`` apart."""
    apart = np.nanmax(own, axis=-2, keepdims=True) - np.nanmin(own, axis=-2, keepdims=True) >= difference
    return np.where(apart & np.isfinite(own), third, own)


def adjudicated_means(design: Design, assumptions: Assumptions, effects: Sequence[float]) -> tuple[float, ...]:
    """Latent means of the reference and of new arms whose analysed scores differ by ``effects`` in expectation.

    Raises ReconError for an effect that the scale cannot hold.
    """
    sample = replace(design, cases=_SAMPLE, arms=2, readers_per_case=None)
    reference = latent_means(design, assumptions, 0.0)[0]
    random = np.random.default_rng(_STREAM)
    unread = np.zeros((design.readers, _SAMPLE), bool)
    if design.readers_per_case is not None:
        ranks = random.random(unread.shape).argsort(axis=0).argsort(axis=0)
        unread = ranks >= design.readers_per_case

    def missed(latent: float, effect: float) -> float:
        drawn = draw_scores(sample, assumptions, (reference, latent), 1, np.random.default_rng(_STREAM), third=True)
        own = np.where(unread, np.nan, drawn[:, :, :-1])
        analysed = decided(own, drawn[:, :, -1:], _difference(design))
        by_reader = np.nanmean(analysed[0, 1] - analysed[0, 0], axis=-1)
        return float(by_reader.mean()) - effect

    found = [reference]
    for effect in effects:
        start = latent_means(design, assumptions, effect)[1]
        low, high = start - 1.0, start + 1.0
        if missed(low, effect) > 0 or missed(high, effect) < 0:
            raise ReconError(f"no adjudicated scores on this scale differ by {effect:g} in expectation")
        found.append(float(optimize.brentq(missed, low, high, (effect,), xtol=1e-4)))
    return tuple(found)


def _difference(design: Design) -> int:
    assert design.adjudicated is not None  # the caller has looked
    return design.adjudicated

"""A branching tree of arteries by Murray's law (Proc Natl Acad Sci 12:207 (1926)): flow at the least work.

At a bifurcation ``r0^3 = r1^3 + r2^3``, and the angles to the parent obey
``cos(angle1) = (r0^4 + r1^4 - r2^4) / (2 r0^2 r1^2)``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LENGTH = (7.0, 13.0)  # of a branch, in radii
ASYMMETRY = (0.5, 1.0)  # radius of the smaller daughter over that of the larger
BEND = 0.18  # radians: how much the direction varies within a branch
STEP = 3.0  # mm between bends
ROOTS = ((0.38, 0.35), (0.38, 0.65), (0.6, 0.5))  # where arteries enter, as shares of (readout, phase)


@dataclass(frozen=True)
class Segment:
    """A straight piece of artery between two points (slice, readout, phase) in mm, and its radius in mm."""

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    radius: float


def daughters(radius: float, asymmetry: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Radius and angle (radians) to the parent of the larger and the smaller daughter; see the module's docstring."""
    larger = radius / (1 + asymmetry**3) ** (1 / 3)
    smaller = asymmetry * larger

    def angle(own: float, other: float) -> float:
        return float(np.arccos(np.clip((radius**4 + own**4 - other**4) / (2 * radius**2 * own**2), -1, 1)))

    return (larger, angle(larger, smaller)), (smaller, angle(smaller, larger))


def grow(
    extent: tuple[float, float, float], root: float, smallest: float, generator: np.random.Generator
) -> list[Segment]:
    """Three trees that enter a slab of ``extent`` mm (slice, readout, phase) from below, with roots of radius ``root``
    mm, until branches leave it or are thinner than ``smallest`` mm."""
    segments: list[Segment] = []
    for down, across in ROOTS:
        start = np.array([0.0, down * extent[1], across * extent[2]])
        start[1:] += generator.normal(0, 3, 2)
        away = start[1:] - 0.5 * np.array(extent[1:])
        direction = _unit(np.array([1.0, *(0.03 * away)]))
        waiting = [(start, direction, root * float(np.exp(generator.normal(0, 0.1))))]
        while waiting:
            place, direction, radius = waiting.pop()
            pieces = list(_branch(place, direction, radius, np.array(extent), generator))
            segments += pieces
            if not pieces or not _inside(pieces[-1].end, np.array(extent)):
                continue
            heading = _unit(pieces[-1].end - pieces[-1].start)
            turn = generator.uniform(0, 2 * np.pi)
            pair = daughters(radius, generator.uniform(*ASYMMETRY))
            for (thickness, angle), side in zip(pair, (turn, turn + np.pi), strict=True):
                if thickness >= smallest:
                    waiting.append((pieces[-1].end, _turned(heading, angle, side), thickness))
    return segments


def _branch(
    place: NDArray[np.float64],
    direction: NDArray[np.float64],
    radius: float,
    extent: NDArray[np.float64],
    generator: np.random.Generator,
) -> Iterator[Segment]:
    left = radius * generator.uniform(*LENGTH)
    while left > 0 and _inside(place, extent):
        end = place + min(STEP, left) * direction
        yield Segment(place, end, radius)
        place, left = end, left - STEP
        direction = _turned(direction, abs(generator.normal(0, BEND)), generator.uniform(0, 2 * np.pi))


def _turned(direction: NDArray[np.float64], angle: float, side: float) -> NDArray[np.float64]:
    """The direction tilted by ``angle`` towards ``side``, an angle around it."""
    other = np.eye(3)[np.abs(direction).argmin()]
    first = _unit(np.cross(direction, other))
    second = np.cross(direction, first)
    return _unit(np.cos(angle) * direction + np.sin(angle) * (np.cos(side) * first + np.sin(side) * second))


def _inside(place: NDArray[np.float64], extent: NDArray[np.float64]) -> bool:
    inner = np.array([0.0, 0.14, 0.14]) * extent  # the head ends before the field of view does
    return bool(((place >= inner) & (place <= extent - inner)).all())


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)

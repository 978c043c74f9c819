"""An over-traced graph of an angiogram: the skeleton of a low threshold on vesselness, cut into branches."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve, distance_transform_edt, find_objects, gaussian_filter, label, maximum_filter
from skimage.filters import sato
from skimage.morphology import skeletonize

SCALES = (0.8, 1.4, 2.0)  # voxels
SHORTEST = 3  # voxels of a branch
BACKGROUND = 6.0  # voxels: width of the local mean that a branch stands out from
FEATURES = (
    "length", "straightness", "vesselness", "lowest vesselness", "contrast", "lowest contrast", "variation", "radius",
    "along phase", "along slice", "neighbours", "free ends", "longest neighbour", "brightest neighbour",
)  # fmt: skip
ANYWHERE = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class VesselGraph:
    """Branches of one angiogram: ``voxels`` ``[point, 3]`` of each, ``features`` ``[branch, feature]`` (``FEATURES``),
    ``adjacent`` ``[branch, branch]``: whether they meet at a junction."""

    voxels: tuple[NDArray[np.int64], ...]
    features: NDArray[np.float64]
    adjacent: NDArray[np.bool_]


def trace(image: NDArray, threshold: float) -> VesselGraph:
    """The graph of a magnitude ``image`` ``[slice, readout, phase]``, traced where Sato's vesselness is above
    ``threshold`` of its 99.9th percentile."""
    image = np.abs(image).astype(float)
    image = image / max(float(np.percentile(image, 99.9)), 1e-12)
    vesselness = sato(image, sigmas=SCALES, black_ridges=False)
    vesselness = vesselness / max(float(np.percentile(vesselness, 99.9)), 1e-12)
    traced = vesselness > threshold
    skeleton = skeletonize(traced)
    neighbours = convolve(skeleton.astype(int), ANYWHERE.astype(int), mode="constant") - 1
    junctions, _ = label(skeleton & (neighbours > 2), ANYWHERE)
    branches, _ = label(skeleton & (junctions == 0), ANYWHERE)
    boxes = find_objects(branches)
    reached = maximum_filter(junctions, size=3)
    voxels: list[NDArray[np.int64]] = []
    touched: list[set[int]] = []
    for number, box in enumerate(boxes, start=1):
        points = np.argwhere(branches[box] == number) + [axis.start for axis in box]
        if len(points) >= SHORTEST:
            voxels.append(points)
            touched.append(set(reached[tuple(points.T)].tolist()) - {0})
    adjacent = np.array([[bool(one & other) for other in touched] for one in touched], bool).reshape(
        len(voxels), len(voxels)
    )
    np.fill_diagonal(adjacent, False)
    own = _features(image, vesselness, traced, voxels, touched)
    return VesselGraph(tuple(voxels), np.column_stack([own, _of_neighbours(own, adjacent)]), adjacent)


def _features(
    image: NDArray, vesselness: NDArray, traced: NDArray, voxels: list[NDArray[np.int64]], touched: list[set[int]]
) -> NDArray[np.float64]:
    contrast = image - gaussian_filter(image, BACKGROUND)
    radius = distance_transform_edt(traced)
    rows = []
    for points, junctions in zip(voxels, touched, strict=True):
        at = tuple(points.T)
        extent = np.ptp(points, axis=0).astype(float)
        chord = float(np.linalg.norm(extent))
        direction = extent / max(chord, 1e-9)
        shine, stand = vesselness[at], contrast[at]
        looks = (shine.mean(), shine.min(), stand.mean(), stand.min(), image[at].std(), radius[at].mean())
        ends = (len(junctions), max(0, 2 - len(junctions)))
        rows.append([np.log(len(points)), chord / len(points), *looks, direction[2], direction[0], *ends])
    return np.array(rows, float).reshape(len(rows), 12)


def _of_neighbours(own: NDArray[np.float64], adjacent: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What a classifier by branch may know of the neighbours: the longest and the brightest; 0 without one."""
    found = np.zeros((len(own), 2))
    for number, row in enumerate(adjacent):
        if row.any():
            found[number] = own[row, 0].max(), own[row, 2].max()
    return found


def branch_truth(graph: VesselGraph, vessels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which branches are vessels: those with at least half of their voxels within one voxel of true ones."""
    near = maximum_filter(vessels, size=3)
    return np.array([near[tuple(points.T)].mean() >= 0.5 for points in graph.voxels], bool)

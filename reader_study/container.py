"""How the pixels of a series are stored: what a program sees in one image without looking at the picture."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def stored_pixels(dataset: Any) -> tuple[NDArray[np.int64], bool] | None:
    """The stored values of a DICOM slice, from 0, and whether they carry a sign.

    None for compressed, coloured or unreadable pixels: the equality gate sees those facts.
    """
    if "PixelData" not in dataset or dataset.get("BitsAllocated") not in (8, 16):
        return None
    if dataset.file_meta.get("TransferSyntaxUID") is None or dataset.file_meta.TransferSyntaxUID.is_compressed:
        return None
    signed = dataset.get("PixelRepresentation") == 1
    kind = f"<{'i' if signed else 'u'}{dataset.BitsAllocated // 8}"
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    raw = np.frombuffer(dataset.PixelData, kind)
    if raw.size < rows * columns:
        return None
    return raw[: rows * columns].reshape(rows, columns).astype(np.int64) + (32768 if signed else 0), signed


class Container:
    """Gathers the statistics of how pixels are stored, slice by slice."""

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros(1, np.int64)
        self._border_rows = 0
        self._slices = 0
        self._signed = 0

    def add(self, image: NDArray[np.int64], signed: bool) -> None:
        """One slice `[row, column]` of stored values, none of them negative."""
        counts = np.bincount(image.reshape(-1))
        size = max(counts.size, self._counts.size)
        total = np.zeros(size, np.int64)
        total[: self._counts.size] = self._counts
        total[: counts.size] += counts
        self._counts = total
        self._slices += 1
        self._signed += signed
        edges: Iterable[NDArray[np.int64]] = (image, image[::-1], image.T, image.T[::-1])
        for view in edges:
            flat = view.min(axis=1) == view.max(axis=1)
            self._border_rows += int(np.argmin(flat)) if not flat.all() else len(flat)

    def statistics(self) -> dict[str, float]:
        """Share of the lowest value, constant border rows and columns a slice, share of empty grey levels in the
        central range, bits in use, pixels at the highest level, share of slices stored with a sign."""
        if not self._slices:
            return {}
        occupied = np.flatnonzero(self._counts)
        total = float(self._counts.sum())
        cumulative = np.cumsum(self._counts[occupied[0] + 1 :])
        empty = 0.0
        if cumulative.size and cumulative[-1]:
            low, high = np.searchsorted(cumulative, [0.05 * cumulative[-1], 0.95 * cumulative[-1]])
            central = self._counts[occupied[0] + 1 + low : occupied[0] + 2 + high]
            empty = float((central == 0).mean()) if central.size else 0.0
        return {
            "zero background share": float(self._counts[occupied[0]]) / total,
            "constant border rows": self._border_rows / self._slices,
            "histogram gaps": empty,
            "bits in use": float(np.ceil(np.log2(occupied[-1] + 1))),
            "pixels at the highest level": float(self._counts[occupied[-1]]),
            "signed pixels": self._signed / self._slices,
        }

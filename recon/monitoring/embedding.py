"""Embeddings of results by an encoder, each result prepared by itself: there is no reference in routine."""

from dataclasses import replace

import numpy as np

from recon.encode.encoders import find_row
from recon.encode.geometry import check_volume
from recon.encode.interface import Encoder
from recon.errors import naming
from recon.images.result import Reconstruction
from recon.monitoring.features import WatchedScan


def with_embedding(scan: WatchedScan, result: Reconstruction, encoder: Encoder) -> WatchedScan:
    """``scan`` with the pooled features of its image. Raises ReconError when the encoder does not take it."""
    values = np.moveaxis(result.reconstruction, 0, -1)
    check_volume(values, result.affine, str(result.path), find_row(encoder.name).least_slices)
    with naming(result.path):
        pooled = encoder.encode(encoder.prepare(values, result.affine)).pooled
    return replace(scan, embedding=tuple(round(float(value), 5) for value in pooled))

"""The table of acquisitions of an ISMRMRD file: that it is one, and the headers in it."""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.foreign.varying_lengths import check_lengths

# Fields of an acquisition's header that are read: kinds of their type, and their number of values.
_FIELDS = {
    "flags": ("u", 1), "measurement_uid": ("iu", 1), "scan_counter": ("iu", 1), "acquisition_time_stamp": ("iu", 1),
    "number_of_samples": ("iu", 1), "active_channels": ("iu", 1), "discard_pre": ("iu", 1), "discard_post": ("iu", 1),
    "center_sample": ("iu", 1), "encoding_space_ref": ("iu", 1), "sample_time_us": ("f", 1), "position": ("f", 3),
    "read_dir": ("f", 3), "phase_dir": ("f", 3), "slice_dir": ("f", 3),
}  # fmt: skip
_COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "slice", "repetition", "contrast", "phase", "set")


def read_heads(path: Path, group: h5py.Group) -> NDArray:
    """The headers ``[acquisition]`` of ``group/data``. Raises ReconError when it is no table of acquisitions."""
    data = group.get("data")
    if data is None or (isinstance(data, h5py.Dataset) and not data.size):
        raise ReconError(f"{path}: holds no acquisitions (images only?); export the raw data, not the images")
    if not isinstance(data, h5py.Dataset) or data.ndim != 1 or not _is_table(data.dtype):
        raise ReconError(
            f"{path}: '{group.name.strip('/')}/data' is no table of acquisitions as ISMRMRD defines it; export the "
            "scan again"
        )
    check_lengths(path, data, "data", 4)
    heads: NDArray = data.fields("head")[:]
    return heads


def _is_table(dtype: np.dtype) -> bool:
    names = dtype.names or ()
    if "head" not in names or "data" not in names or h5py.check_vlen_dtype(dtype["data"]) != np.dtype("f4"):
        return False
    head = dtype["head"]
    counters = head["idx"] if "idx" in (head.names or ()) else np.dtype("f4")
    return all(_is_field(head, name, *wanted) for name, wanted in _FIELDS.items()) and all(
        _is_field(counters, name, "iu", 1) for name in _COUNTERS
    )


def _is_field(dtype: np.dtype, name: str, kinds: str, values: int) -> bool:
    if name not in (dtype.names or ()):
        return False
    base, shape = dtype[name].base, dtype[name].shape
    return base.kind in kinds and int(np.prod(shape, dtype=int)) == values

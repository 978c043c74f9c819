"""Writing safetensors files so that a full disk is an error like any other."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recon.atomic import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def write_tensors(
    path: str | os.PathLike[str],
    tensors: "Mapping[str, Tensor] | Mapping[str, NDArray[Any]]",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write contiguous tensors, or numpy arrays, as one safetensors file; it appears when it is complete.

    Raises ReconError when it cannot be written.
    """
    import numpy as np
    from safetensors import SafetensorError

    if all(isinstance(value, np.ndarray) for value in tensors.values()):
        from safetensors.numpy import save_file
    else:
        from safetensors.torch import save_file  # type: ignore[assignment]
    with atomic_path(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=None if metadata is None else dict(metadata))  # type: ignore[arg-type]
        except SafetensorError as error:  # what the disk said is in its words only
            raise OSError(" ".join(str(error).split())) from error

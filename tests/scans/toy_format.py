"""A raw format in one module: a NumPy archive with ``kspace`` ``[slice, coil, readout, phase]``."""

from pathlib import Path

import numpy as np

from recon.acquisition.masks import calibration_extent, detect_mask
from recon.digest import file_sha256
from recon.errors import ReconError
from recon.header import Header
from recon.scan import Scan


def recognises(path: Path) -> bool:
    return path.suffix == ".toy"


def open_file(path: Path) -> Scan:
    try:
        with path.open("rb") as file:
            kspace = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ReconError(f"{path}: not a toy ({error})") from error
    mask = detect_mask(kspace[0])
    return Scan(
        path=path,
        digest=file_sha256(path),
        shape=kspace.shape,
        read_kspace=lambda index: kspace[index],
        mask=mask,
        calibration=calibration_extent(mask, kspace.shape[2]),
        image_shape=kspace.shape[2:],
        contrast="FLAIR",
        header=Header(vendor="toy maker"),
    )

"""The b-value of diffusion images: what DICOM headers, ``.bval`` files and results of recon say of it, in s/mm^2.

DICOM has an attribute of its own since 2003; classic MR series of scanners often state it only in a private element,
which the vendors' conformance statements document: Siemens (0019,100C) of ``SIEMENS MR HEADER``, GE the first of the
four numbers (0043,1039) of ``GEMS_PARM_01``, to which newer software adds a billion, and Philips (2001,1003) of
``Philips Imaging DD 001``.
"""

import math
from pathlib import Path
from typing import Any

from recon.errors import ReconError
from recon.header import LARGEST_B_VALUE
from recon.images.result import result_attributes

_MARK_OF_GE = 10**9
# Group, name of the block, element in it.
_PRIVATE = (
    (0x0019, "SIEMENS MR HEADER", 0x0C),
    (0x0043, "GEMS_PARM_01", 0x39),
    (0x2001, "Philips Imaging DD 001", 0x03),
)


def dicom_b_value(dataset: Any) -> float | None:
    """The b-value of a classic MR image or of one frame's functional groups; None where it states none. Raises
    ValueError for a ``DiffusionBValue`` that cannot be; private elements may hold anything."""
    if (said := dataset.get("DiffusionBValue")) is not None:
        return _checked(said, "DiffusionBValue")
    if dataset.get("DiffusionDirectionality") == "NONE":
        return 0.0
    for group, block, element in _PRIVATE:
        try:
            found = _private(dataset.private_block(group, block)[element].value)
        except (KeyError, ValueError, TypeError):  # not there, or not what the vendor documents: nothing is stated
            continue
        if found is not None and 0 <= found <= LARGEST_B_VALUE:
            return found
    return None


def _private(value: Any) -> float | None:
    """The first number of a private element, whose representation pydicom knows; None when it is empty."""
    first = value if isinstance(value, (int, float)) else next(iter(value or ()), None)
    if first is None:
        return None
    number = float(first)
    return number - _MARK_OF_GE if number >= _MARK_OF_GE else number


def _checked(value: Any, name: str) -> float:
    number = float(value)
    if not (math.isfinite(number) and 0 <= number <= LARGEST_B_VALUE):
        raise ValueError(f"{name} is {str(value)[:40]}, not a b-value from 0 to {LARGEST_B_VALUE:g} s/mm^2")
    return number


def listed_b_values(path: Path) -> tuple[list[float], str]:
    """The b-values in the ``.bval`` file beside a NIfTI file, and that file's name. Raises ReconError when there is
    none, or it is no list of them."""
    beside = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".bval")
    try:
        with beside.open("rb") as file:
            words = file.read(1 << 16).decode("ascii").split()
        values = [_checked(word, beside.name) for word in words]
    except (OSError, UnicodeDecodeError) as error:
        raise ReconError(f"{path}: no b-value known (no {beside.name} beside it); give --b-values") from error
    except ValueError as error:
        raise ReconError(
            f"{beside}: no list of b-values ({str(error)[:80]}); correct it, or give --b-values"
        ) from error
    if not values:
        raise ReconError(f"{beside}: is empty; give --b-values")
    return values, beside.name


def result_b_value(path: Path) -> float:
    """The b-value that a result of ``recon reconstruct`` took from its scan. Raises ReconError when it has none."""
    value = result_attributes(path).get("b_value_s_per_mm2")
    if value is None:
        raise ReconError(f"{path}: its scan stated no b-value; give --b-values")
    try:
        return _checked(value, "b_value_s_per_mm2")
    except (TypeError, ValueError) as error:
        raise ReconError(f"{path}: {error}; give --b-values") from error

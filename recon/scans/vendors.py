"""Raw data of vendors that recon does not read: recognised, to name the converter that makes ISMRMRD of them."""

import re
from pathlib import Path

_PHILIPS = {".raw", ".lab", ".sin", ".list", ".data"}


def converter_advice(path: Path) -> str | None:
    """What a file of GE or Philips is and what to do with it, in words that follow its name; None for others.

    GE: P-files (``P12345.7``) and ScanArchives (``ScanArchive_*.h5``). Philips: ``.raw``/``.lab``/``.sin`` and
    ``.list``/``.data``. Their names tell; their content is not looked at.
    """
    if re.fullmatch(r"P\d{5}\.7", path.name) or re.match(r"ScanArchive_.*\.h5$", path.name):
        return f"GE raw data, which recon does not read; convert it: ge_to_ismrmrd {path.name} -o scan.h5"
    if path.suffix.lower() in _PHILIPS:
        return (
            "Philips raw data, which recon does not read; convert it: "
            f"philips_to_ismrmrd -f {path.stem} -o scan.h5 (it needs .raw, .lab and .sin beside one another)"
        )
    return None

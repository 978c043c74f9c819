"""The opened key: read, and checked against what the export committed to."""

import json
from pathlib import Path

from reader_study.seal import Key
from reader_study.study import Study, exported
from recon.errors import ReconError


def read_opened_key(path: str | Path) -> Key:
    """The opened key as ``unseal`` writes it. Raises ReconError when it is missing or not one."""
    path = Path(path)
    if not path.is_file():
        raise ReconError(f"{path}: no opened key; run 'recon reader-study unseal' when all scores are in")
    try:
        return Key.from_mapping(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ReconError(f"{path}: not an opened key of recon ({error})") from error


def check_opened_key(study: Study, key: Key) -> None:
    """Is this the key that the export committed to, and was it opened through ``unseal``?

    Raises ReconError when the key was changed after it was opened, or the log has no unsealing.
    """
    export = exported(study.entries)
    if export is None:
        raise ReconError(f"{study.folder}: nothing was exported under this version of the protocol")
    if key.commitment != export.details["commitment"]:
        raise ReconError(f"{study.folder}: this key is not the one committed to at the export; unseal again")
    if not any(entry.event == "unseal" and entry.index > export.index for entry in study.entries):
        raise ReconError(f"{study.folder}: the key was never unsealed; run 'recon reader-study unseal' first")

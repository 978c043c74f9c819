"""What file names tell: the contrast, the person, the licence that lies beside."""

import re
from pathlib import Path

_CONTRAST_WORDS = {
    "FLAIR": "FLAIR",
    "FL": "FLAIR",
    "T1": "T1",
    "T1W": "T1",
    "SPGR": "T1",
    "MPRAGE": "T1",
    "T2": "T2",
    "T2W": "T2",
    "LATE": "T2",
    "PD": "PD",
    "PDW": "PD",
    "ERLY": "PD",
    "DWI": "DWI",
}


def contrast_of_name(name: str) -> str | None:
    """The contrast that a file name tells, or None: ``p01_study1_T1W.nii.gz`` is T1."""
    found = re.findall(contrast_pattern(), stem_of_name(Path(name)))
    return _CONTRAST_WORDS[found[-1].strip("_-").upper()] if found else None


def person_of_name(name: str) -> str:
    """The person that a file name tells, so that repeated scans stay together: ``MNI_p07``, ``p07_study2`` are p07."""
    for token in re.split(r"[_\s]+", name):
        if re.search(r"\d", token) and not re.match(r"(?i)(study|ses|session|visit|run|tp)[-]?\d", token):
            return token
    return name


def contrast_pattern() -> str:
    """A regular expression for a contrast at the end of a word of a file name."""
    words = "|".join(sorted(_CONTRAST_WORDS, key=len, reverse=True))
    return rf"(?i)[_-]?(?:{words})(?![A-Za-z0-9])"


def stem_of_name(path: Path) -> str:
    """The file's name without folder and suffix."""
    return re.sub(r"(?i)\.nii(\.gz)?$|\.npz$", "", path.name)


def licence_beside(path: Path) -> str:
    """What ``licence.txt`` beside a file says (500 characters at most)."""
    note = path.parent / "licence.txt"
    if not note.is_file():
        return "see the data's own licence"
    return note.read_text(encoding="utf-8", errors="replace").strip()[:500]

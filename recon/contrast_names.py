"""What a contrast is called: one spelling for the many that scanners and people use."""

import re

UNKNOWN = "unknown"
_POST = frozenset({"post", "gd", "gad", "km", "ce"})  # words that name a contrast agent
_STAR = frozenset({"star", "hemo", "fl2d", "fl3d", "gre", "swi"})  # gradient echoes: with T2 they mean T2*
_NAMES = ("T1", "T1POST", "T2", "T2STAR", "PD", "PDFS", "FLAIR", "DWI", "DWIB0", "ADC", "UNKNOWN")
_SPELLINGS = {
    **{name: name for name in _NAMES},
    **{f"{name}{ending}": name for name in ("T1", "T2", "PD") for ending in ("W", "WI", "WEIGHTED")},
    **dict.fromkeys(("T1C", "T1CE", "T1GD", "T1GAD", "T1KM", "T1WPOST", "T1WCE"), "T1POST"),
    **dict.fromkeys(("T2FLAIR", "FLAIRW", "T2WFLAIR"), "FLAIR"),
    **dict.fromkeys(("T2S", "T2STARW"), "T2STAR"),
}  # fmt: skip


def canonical_contrast(name: str) -> str:
    """``name`` in the spelling that recon uses, whatever its case and separators: ``t2`` and ``T2w`` are T2, ``T1+C``
    is T1POST, ``T2-FLAIR`` is FLAIR, ``T2*`` is T2STAR. A name that is none of the known ones stays as it is, but for
    spaces around it."""
    name = name.strip()
    known = _SPELLINGS.get(re.sub(r"[\s_\-.+]", "", name.upper().replace("*", "STAR")))
    if known is None:
        return name
    return {"DWIB0": "DWI-B0", "UNKNOWN": UNKNOWN}.get(known, known)


def contrast_of_protocol(name: str) -> str:
    """The contrast that a protocol's name states, e.g. ``t2_tse_tra`` or ``T2W_TSE`` -> T2; "unknown" when it states
    none or two."""
    words = set(re.split(r"[^a-z0-9]+", name.lower().replace("*", "star")))
    named = {_SPELLINGS.get(word.upper(), "") for word in words} - {"UNKNOWN"}
    if words & {"flair", "tirm"} or "FLAIR" in named or "darkfluid" in re.sub("[_-]", "", name.lower()):
        return "T1" if "T1" in named else "FLAIR"  # a fluid-attenuated T1 is a T1
    if "T2" in named and words & _STAR:
        named = (named - {"T2"}) | {"T2STAR"}
    found = named & {"T1", "T2", "PD", "DWI", "T1POST", "T2STAR"}
    if len(found) != 1:
        return UNKNOWN
    contrast = found.pop()
    return "T1POST" if contrast == "T1" and words & _POST else contrast

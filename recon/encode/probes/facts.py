"""Where and as what a volume was measured, as far as its result or scan says: vendor, field strength, contrast."""

from pathlib import Path

from recon.errors import ReconError
from recon.foreign.hdf5 import foreign_hdf5, text_attribute
from recon.header import scanner_facts
from recon.images.result import result_attributes
from recon.images.volume import is_result
from recon.quality.strata import FACTS


def facts_of(file: Path) -> dict[str, str]:
    """The facts that a file states, by the names of ``recon.quality.strata.FACTS``, and its contrast; images of others
    state none."""
    from recon.scans.opening import open_scan

    try:
        if is_result(file):
            with foreign_hdf5(file) as opened:
                stated = {**result_attributes(file), "contrast": text_attribute(opened, "contrast")}
        else:
            scan = open_scan(file)
            stated = {**scanner_facts(scan.header), "contrast": scan.contrast}
    except ReconError:  # an image without k-space: what is wrong with a file, its reader has said
        return {}
    found = {fact: stated[key] for fact, key in {**FACTS, "contrast": "contrast"}.items() if key in stated}
    return {fact: f"{value:g}" if isinstance(value, float) else str(value) for fact, value in found.items()}

"""Where a volume was measured, as far as its result file or its scan says: vendor, field strength, site."""

from pathlib import Path

from recon.errors import ReconError
from recon.header import scanner_facts
from recon.images.result import result_attributes
from recon.images.volume import is_result
from recon.quality.strata import FACTS


def facts_of(file: Path) -> dict[str, str]:
    """The facts that a file states, by the names of ``recon.quality.strata.FACTS``; images of others state none."""
    from recon.scans.opening import open_scan

    try:
        stated = result_attributes(file) if is_result(file) else scanner_facts(open_scan(file).header)
    except ReconError:  # an image without k-space: what is wrong with a file, its reader has said
        return {}
    found = {fact: stated[key] for fact, key in FACTS.items() if key in stated}
    return {fact: f"{value:g}" if isinstance(value, float) else str(value) for fact, value in found.items()}

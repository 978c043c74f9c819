"""Reserve readers: their packages are exported and sealed with all others, and read only when one is called in.

A line of the log, event ``reader-called-in``: ``{"reader", "text"}``. Until then a reserve's sheets are refused and
nobody waits for them; from then on the reserve is a reader like any other.
"""

from pathlib import Path

from reader_study import audit_log
from reader_study.log_lines import CALLED_IN
from reader_study.study import LOG, open_study
from recon.errors import ReconError


def call_in(folder: str | Path, reader: str, text: str) -> audit_log.LogEntry:
    """Call a reserve reader in. ``text`` says why.

    Raises ReconError for a reader who is no reserve or was called in before, and once the key was opened: who reads
    must not depend on what the scores say.
    """
    study = open_study(folder)
    if study.unsealed:
        raise ReconError(f"{study.folder}: the key was opened; no reader can be called in any more")
    if not text.strip():
        raise ReconError("calling a reader in needs a text that says why")
    reserves = {entry.id for entry in study.protocol.readers if entry.reserve}
    if reader not in reserves:
        shown = f"reserves are {', '.join(sorted(reserves))}" if reserves else "it has none"
        raise ReconError(f"reader '{reader}' is no reserve of this protocol; {shown}")
    if reader in study.readers:
        raise ReconError(f"reader '{reader}' was called in before")
    return audit_log.append(study.folder / LOG, CALLED_IN, {"reader": reader, "text": text.strip()})

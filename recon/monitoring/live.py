"""The charts of a baseline over results that come one after another: what is new is said at once.

The charts are those of ``recon monitor check`` over all results so far; its windows are tests of many scans together
and are left to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from recon.errors import ReconError
from recon.monitoring.baseline import Baseline, key_of
from recon.monitoring.check import charted
from recon.monitoring.features import TITLES, WatchedScan, read_watched


@dataclass
class LiveWatch:
    """A baseline and the scans since. Made by ``begun``."""

    baseline: Baseline
    scans: dict[tuple[tuple[str, str], ...], list[WatchedScan]] = field(default_factory=dict)

    def add(self, path: Path) -> str:
        """What the charts say of one more result, in a few words that name neither person nor protocol. Raises
        ReconError when it is damaged or lacks a figure."""
        scan, _ = read_watched(path)
        key = key_of(scan, self.baseline.by)
        stratum = next((stratum for stratum in self.baseline.strata if stratum.key == key), None)
        if stratum is None:
            return "not judged: the baseline does not know its scanner and protocol"
        members = [*self.scans.get(key, []), scan]
        _, alarms = charted(stratum, members)  # as they came: the order in which the charts must see them
        self.scans[key] = members
        fresh = [alarm for alarm in alarms if alarm.number == len(members)]
        if not fresh:
            return f"no change (scan {len(members)} of its kind)"
        alarm = fresh[0]
        words = f"{TITLES.get(alarm.figure, alarm.figure)} {alarm.direction}"
        return f"CHANGED: {words} (scan {alarm.number} of its kind, since scan {alarm.since_number})"


def begun(baseline: Baseline, results: Iterable[Path]) -> LiveWatch:
    """A watch that has seen ``results`` already: a server that is started again goes on where it stopped.

    Raises ReconError, naming the result, when one is damaged."""
    watch = LiveWatch(baseline)
    for path in results:
        try:
            watch.add(path)
        except ReconError as error:
            raise ReconError(f"{error}; move it away to go on without it") from error
    return watch

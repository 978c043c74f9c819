"""The charts of a baseline over results that come one after another: what is new is said at once.

The charts are those of ``recon monitor check`` over all results so far; its windows are tests of many scans together
and are left to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from recon.errors import ReconError
from recon.monitoring.baseline import Baseline, Stratum, key_of
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
        scan, stratum = self._read(path)
        if stratum is None:
            return "not judged: the baseline does not know its scanner and protocol"
        members = [*self.scans.get(stratum.key, []), scan]
        _, alarms = charted(stratum, members)  # as they came: the order in which the charts must see them
        self.scans[stratum.key] = members
        fresh = [alarm for alarm in alarms if alarm.number == len(members)]
        if not fresh:
            return f"no change (scan {len(members)} of its kind)"
        alarm = fresh[0]
        words = f"{TITLES.get(alarm.figure, alarm.figure)} {alarm.direction}"
        return f"CHANGED: {words} (scan {alarm.number} of its kind, since scan {alarm.since_number})"

    def begin(self, results: Iterable[Path]) -> None:
        """Take what is there already; the charts of each stratum are made once. Raises as ``add`` does."""
        for path in results:
            scan, stratum = self._read(path)
            if stratum is not None:
                self.scans.setdefault(stratum.key, []).append(scan)
        for stratum in self.baseline.strata:
            if members := self.scans.get(stratum.key):
                charted(stratum, members)  # one that lacks a figure is said now, not with the first scan that comes

    def _read(self, path: Path) -> tuple[WatchedScan, Stratum | None]:
        scan, _ = read_watched(path)
        key = key_of(scan, self.baseline.by)
        return scan, next((stratum for stratum in self.baseline.strata if stratum.key == key), None)


def begun(baseline: Baseline, results: Iterable[Path]) -> LiveWatch:
    """A watch that has seen ``results`` already: a server that is started again goes on where it stopped.

    Raises ReconError, naming the result, when one is damaged."""
    watch = LiveWatch(baseline)
    try:
        watch.begin(results)
    except ReconError as error:
        raise ReconError(f"{error}; move it away to go on without it") from error
    return watch

"""Scans against a baseline: the charts of every stratum, the test of every window, and one verdict."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.monitoring.baseline import Baseline, Stratum, grouped, name_of
from recon.monitoring.cusum import chart
from recon.monitoring.features import TITLES, WatchedScan
from recon.monitoring.kernel_test import permutation_p_value
from recon.monitoring.options import CheckOptions
from recon.progress import Report, silent
from recon.seeding import numpy_generator

LEAST_WINDOW = 5  # scans


@dataclass(frozen=True)
class Alarm:
    """A chart over its limit. ``since``: the scan at which the sum began to rise, an estimate of when it changed."""

    scan: str
    number: int  # in its stratum, from 1
    figure: str
    direction: str  # "up" or "down"
    since: str
    since_number: int
    acquired_at: str | None

    @property
    def words(self) -> str:
        """For people."""
        when = f" of {self.acquired_at}" if self.acquired_at else ""
        title = TITLES.get(self.figure, self.figure)
        return f"{title} {self.direction} (scan {self.number}, {self.scan}{when}; since scan {self.since_number})"


@dataclass(frozen=True)
class Window:
    """One window of the permutation test. ``moved``: the figures that moved most, with by how many standard
    deviations of the baseline their mean did."""

    first: int  # scan of its stratum, from 1
    last: int
    scans: tuple[str, str]
    mmd2: float
    p_value: float
    moved: tuple[tuple[str, float], ...]
    changed: bool = False


@dataclass(frozen=True, eq=False)
class StratumCheck:
    """What a stratum showed, its scans in the order in which they were charted."""

    stratum: Stratum
    scans: tuple[WatchedScan, ...]
    by_time: bool  # in the order of acquisition; else as they were given
    sums: NDArray[np.float64]  # [scan, figure, side]
    alarms: tuple[Alarm, ...]
    windows: tuple[Window, ...]

    @property
    def changed(self) -> bool:
        """Whether a chart or a window says so."""
        return bool(self.alarms) or any(window.changed for window in self.windows)


@dataclass(frozen=True)
class Check:
    """Everything that a check found. ``unjudged``: strata without a baseline and how many scans they have."""

    strata: tuple[StratumCheck, ...]
    unjudged: tuple[tuple[str, int], ...]
    level: float

    @property
    def changed(self) -> bool:
        """Whether something changed in any stratum."""
        return any(stratum.changed for stratum in self.strata)

    @property
    def false_alarm_probability(self) -> float:
        """By how likely the charts would have raised any alarm in as many scans without a change, at the stated run
        length; the windows add at most their level."""
        return 1 - math.exp(-sum(len(entry.scans) / entry.stratum.limit.stated for entry in self.strata))

    @property
    def verdict(self) -> str:
        """One line."""
        count = sum(len(entry.scans) for entry in self.strata)
        chance = f"by chance in {100 * self.false_alarm_probability:.0f} % of such series for the charts"
        chance += f", {100 * self.level:g} % for the windows"
        if not self.changed:
            text = f"no change seen in {count} scan{'s' * (count != 1)} (an alarm would come {chance})"
        else:
            words = [self._words(entry) for entry in self.strata if entry.changed]
            text = f"CHANGED: {'; '.join(words)} (alarms come {chance})"
        left = sum(number for _, number in self.unjudged)
        left_out = "1 scan without a baseline was" if left == 1 else f"{left} scans without a baseline were"
        return text + (f"; {left_out} NOT judged" if left else "")

    def _words(self, entry: StratumCheck) -> str:
        """What changed in a stratum, which is named where there are several: by the facts in which they differ."""
        keys = [other.stratum.key for other in self.strata]
        apart = [fact for number, fact in enumerate(entry.stratum.key) if len({key[number] for key in keys}) > 1]
        said = [alarm.words for alarm in entry.alarms[:3]]
        if len(entry.alarms) > 3:
            said.append(f"{len(entry.alarms) - 3} more alarms")
        for window in [window for window in entry.windows if window.changed][:1]:
            figure = f", most in {TITLES.get(window.moved[0][0], window.moved[0][0])}" if window.moved else ""
            said.append(f"window of scans {window.first} to {window.last} differs{figure}")
        name = f"{name_of(apart)}: " if len(self.strata) > 1 else ""
        return name + ", ".join(said)


def check_scans(
    scans: Sequence[WatchedScan], baseline: Baseline, options: CheckOptions, report: Report = silent
) -> Check:
    """Compare scans with the baseline. Raises ReconError when none has a baseline, or a scan lacks a charted figure.

    The time grows with the square of the number of windows: each is tested, and the more there are, the smaller its
    p-value must be able to become, which takes as many more permutations.
    """
    strata = {stratum.key: stratum for stratum in baseline.strata}
    groups = grouped(scans, baseline.by)
    unjudged = tuple((name_of(key), len(members)) for key, members in groups.items() if key not in strata)
    judged = {key: members for key, members in groups.items() if key in strata}
    if not judged:
        raise ReconError(
            f"none of the {len(scans)} scans has a baseline: they are {unjudged[0][0]}; the baseline knows "
            f"{'; '.join(stratum.name for stratum in baseline.strata)}"
        )
    windows = sum(len(windows_of(len(members), options.window)) for members in judged.values())
    # Enough that the smallest possible p-value is small against the level of one window.
    permutations = max(options.permutations, math.ceil(5 * windows / options.level))
    done = 0

    def tested() -> None:
        nonlocal done
        done += 1
        report("testing windows", done / windows)

    checked = [_checked(strata[key], members, options, permutations, tested) for key, members in judged.items()]
    return Check(_with_holm(checked, options.level), unjudged, options.level)


def windows_of(count: int, width: int) -> list[range]:
    """Windows of ``width`` scans, the rest in the last one; one shorter window where there are fewer scans, none for
    fewer than ``LEAST_WINDOW``."""
    if count < LEAST_WINDOW:
        return []
    edges = [*range(0, max(count - width, 0) + 1, width)]
    return [range(first, last) for first, last in zip(edges, [*edges[1:], count], strict=True)]


def _checked(
    stratum: Stratum,
    members: Sequence[WatchedScan],
    options: CheckOptions,
    permutations: int,
    tested: Callable[[], None],
) -> StratumCheck:
    by_time = all(scan.acquired_at is not None for scan in members)
    ordered = sorted(members, key=lambda scan: scan.acquired_at or "") if by_time else list(members)
    standardised = _standardised(stratum, ordered)
    sums, alarms = charted(stratum, ordered)
    windows = []
    for part in windows_of(len(ordered), options.window):
        generator = numpy_generator(options.seed, stratum.name, part.start)
        windows.append(_window(stratum, ordered, standardised, part, permutations, generator))
        tested()
    return StratumCheck(stratum, tuple(ordered), by_time, sums, alarms, tuple(windows))


def charted(stratum: Stratum, ordered: Sequence[WatchedScan]) -> tuple[NDArray[np.float64], tuple[Alarm, ...]]:
    """The charts of scans in their order, ``[scan, figure, side]``, and their alarms. Raises ReconError when a scan
    lacks a charted figure."""
    course = chart(_standardised(stratum, ordered), stratum.limit.value)
    alarms = tuple(
        Alarm(
            ordered[scan].name, scan + 1, stratum.figures[figure], ("up", "down")[side], ordered[since].name, since + 1,
            ordered[scan].acquired_at,
        )
        for scan, figure, side, since in course.alarms
    )  # fmt: skip
    return course.sums, alarms


def _standardised(stratum: Stratum, scans: Sequence[WatchedScan]) -> NDArray[np.float64]:
    """Figures ``[scan, figure]`` in standard deviations of the baseline."""
    values = np.array([[_figure(scan, name) for name in stratum.figures] for scan in scans])
    return np.asarray((values - stratum.location) / stratum.scale)


def _figure(scan: WatchedScan, name: str) -> float:
    if name not in scan.figures:
        raise ReconError(
            f"{scan.name}: its audit lacks {name}, which the baseline charts; reconstruct it with the same settings"
        )
    return scan.figures[name]


def _window(
    stratum: Stratum,
    scans: Sequence[WatchedScan],
    standardised: NDArray[np.float64],
    part: range,
    permutations: int,
    generator: np.random.Generator,
) -> Window:
    members = [scans[index] for index in part]
    here = standardised[part.start : part.stop]
    blocks = [np.concatenate([(stratum.values - stratum.location) / stratum.scale, here])]
    if stratum.embeddings is not None:
        features = [scan.embedding for scan in members]
        width = stratum.embeddings.shape[1]
        if any(feature is None or len(feature) != width for feature in features):
            raise ReconError("the baseline has embeddings: give the scans with the same encoder")
        blocks.append(np.concatenate([stratum.embeddings, np.array(features)]))
    watched = np.arange(len(blocks[0])) >= len(stratum.values)
    persons = [*stratum.persons, *(scan.person for scan in members)]
    mmd2, p_value = permutation_p_value(blocks, persons, watched, permutations, generator)
    shifts = here.mean(0)
    order = np.argsort(-np.abs(shifts))[:3]
    moved = tuple((stratum.figures[index], float(shifts[index])) for index in order)
    return Window(part.start + 1, part.stop, (members[0].name, members[-1].name), mmd2, p_value, moved)


def _with_holm(checked: Sequence[StratumCheck], level: float) -> tuple[StratumCheck, ...]:
    """Windows marked as changed by Holm's procedure over all windows of all strata."""
    p_values = sorted(
        (w.p_value, number, place) for number, s in enumerate(checked) for place, w in enumerate(s.windows)
    )
    changed = set()
    for rank, (p_value, number, place) in enumerate(p_values):
        if p_value > level / (len(p_values) - rank):
            break
        changed.add((number, place))
    return tuple(
        replace(s, windows=tuple(replace(w, changed=(number, place) in changed) for place, w in enumerate(s.windows)))
        for number, s in enumerate(checked)
    )

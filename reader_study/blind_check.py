"""The blind check: can anything but the picture tell which arm an image is from? Three steps, in this order.

1. Equality. Within each pair every attribute and file fact must be equal; identifiers may differ in value but not in
   form. One difference in one pair is a leak.
2. Prediction. From what may differ (names, identifiers, order on disk) a one-rule classifier is learnt on all pairs but
   one and guesses the arm of the one left out. The exact binomial p-value is reported, as is usual; but predictions
   left out in turn are not independent (with 20 pairs and 15 features the binomial test at .05 rejects about 27 % of
   perfectly blinded packages in simulation), so the verdict uses the same count under random exchanges of the arm
   labels within pairs, which is exact.
   One sound package in twenty fails at this level; an export draws its names anew where it does.
3. Pixel container. Zero background, constant border rows, empty grey levels, bits in use, pixels at the highest level.
   A difference within pairs is a warning: appearance is what the study measures. But where one of these facts tells
   SINGLE images of one arm from those of the other, nearly all of them, it is no appearance and a leak.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from reader_study.series_facts import FileFacts, SeriesFacts, read_series
from recon.errors import ReconError
from recon.progress import Report, silent

LEVEL = 0.05
_EXCHANGES = 999
_PERSONAL = (
    *("Patient", "Person", "Physician", "Operator", "Name", "Institution", "Station", "Address", "Telephone"),
    *("Birth", "Date", "Accession", "Requesting", "Performing", "Comments", "History", "UserContent", "("),
)
_CONTAINER_LIMITS = {
    "zero background share": 0.01,
    "constant border rows": 0.5,
    "histogram gaps": 0.1,
    "bits in use": 0.5,
    "pixels at the highest level": 3,
    "signed pixels": 0.01,
}
_TOLD = 0.9  # area under the curve of one fact over single images
_RARELY = 0.001  # chance of that under random exchanges of the arms


@dataclass(frozen=True)
class Pair:
    """The two series of one case, always in the same order of arms."""

    case: str
    first: tuple[Path, ...]
    second: tuple[Path, ...]
    arms: tuple[str, str] = ("", "")  # which; of three and more arms each two are judged by themselves
    sequence: str = ""  # of several in one presentation each is judged by itself


@dataclass(frozen=True)
class Finding:
    """One thing that differs between the arms."""

    step: Literal["equality", "prediction", "pixels", "single image"]
    attribute: str
    cases: int  # in how many pairs
    example: str
    leaks: bool  # False for a warning


@dataclass(frozen=True)
class BlindCheck:
    """The verdict on a set of pairs."""

    pairs: int
    findings: tuple[Finding, ...]
    correct: int  # arms guessed right in step 2
    binomial_p: float
    exchange_p: float
    rule: str  # the attribute that step 2 used most

    @property
    def passed(self) -> bool:
        """True when nothing leaks; warnings may remain."""
        return not any(finding.leaks for finding in self.findings)

    @property
    def by_chance(self) -> bool:
        """Would a new draw of names and order perhaps pass: is nothing else found?"""
        return all(finding.step == "prediction" for finding in self.findings if finding.leaks)

    def as_mapping(self) -> dict[str, Any]:
        """Plain JSON types, for the log and for ``--json``."""
        return {
            "passed": self.passed,
            "pairs": self.pairs,
            "correct": self.correct,
            "binomial_p": self.binomial_p,
            "exchange_p": self.exchange_p,
            "findings": [asdict(finding) for finding in self.findings],
        }


def check_pairs(pairs: Sequence[Pair], report: Report = silent) -> BlindCheck:
    """Run the three steps for each two arms and each sequence that ``pairs`` name; what any of them shows counts, the
    guesses are the worst's.

    Raises ReconError when there is no pair or a file cannot be read.
    """
    if not pairs:
        raise ReconError("the blind check found no pairs of series")
    alike: dict[tuple[tuple[str, str], str], list[Pair]] = {}
    for pair in pairs:
        alike.setdefault((pair.arms, pair.sequence), []).append(pair)
    checks: list[BlindCheck] = []
    for these in alike.values():
        before = sum(check.pairs for check in checks)

        def show(stage: str, done: float, before: int = before, these: int = len(these)) -> None:
            report(stage, (before + done * these) / len(pairs))

        checks.append(_check_two(these, show))
    worst = min(checks, key=lambda check: check.exchange_p)
    findings = dict.fromkeys(finding for check in checks for finding in check.findings)
    return replace(worst, pairs=len(pairs), findings=tuple(findings))


def _check_two(pairs: Sequence[Pair], report: Report) -> BlindCheck:
    """The three steps for two arms."""
    differing: dict[str, list[str]] = {}
    container: dict[str, list[str]] = {}
    signs: list[dict[str, int]] = []
    facts: list[tuple[Mapping[str, float], Mapping[str, float]]] = []
    for index, pair in enumerate(pairs):
        report("blind check", index / len(pairs))
        first = read_series(pair.first, pair.case)
        second = read_series(pair.second, pair.case)
        for attribute, example in _differences(first, second).items():
            differing.setdefault(attribute, []).append(f"{pair.case}: {example}")
        for attribute, example in _container_differences(first, second).items():
            container.setdefault(attribute, []).append(f"{pair.case}: {example}")
        signs.append(_signs(pair, first, second))
        facts.append((first.container, second.container))
    findings = [Finding("equality", name, len(cases), cases[0], True) for name, cases in differing.items()]
    correct, binomial_p, exchange_p, rule = predict(signs)
    if exchange_p <= LEVEL:
        text = f"{correct} of {len(pairs)} arms guessed from it, p = {exchange_p:.2g}"
        findings.append(Finding("prediction", rule, len(pairs), text, True))
    told = single_images(facts)
    findings += [Finding("single image", name, len(pairs), text, True) for name, text in told.items()]
    findings += [
        Finding("pixels", name, len(cases), cases[0], False) for name, cases in container.items() if name not in told
    ]
    return BlindCheck(len(pairs), tuple(findings), correct, binomial_p, exchange_p, rule)


def name_signs(attribute: str, first: str, second: str) -> dict[str, int]:
    """How two identifiers of a pair compare, as -1, 0 or 1 per aspect: order, length, last digit's parity."""

    def sign(a: Any, b: Any) -> int:
        return int(a > b) - int(a < b)

    return {
        f"{attribute} (order)": sign((len(first), first), (len(second), second)),
        f"{attribute} (length)": sign(len(first), len(second)),
        f"{attribute} (last character)": sign(ord(first[-1:] or " ") % 2, ord(second[-1:] or " ") % 2),
    }


def predict(signs: Sequence[Mapping[str, int]]) -> tuple[int, float, float, str]:
    """Leave one pair out, learn the best one-rule classifier on the others, guess; repeat for every pair.

    ``signs``: per pair, aspect -> -1, 0, 1. Gives the number of right guesses, the one-sided exact binomial p-value,
    the p-value under 999 random exchanges of labels within pairs, and the aspect used most. Fewer than five pairs
    cannot tell anything (p = 1).
    """
    names = sorted({name for pair in signs for name in pair})
    table = np.array([[pair.get(name, 0) for name in names] for pair in signs], np.int8).reshape(len(signs), -1)
    if len(signs) < 5 or not table.any():
        return 0, 1.0, 1.0, ""
    rng = np.random.default_rng(20_000_101)  # fixed: the same package always gets the same verdict
    correct, used = _left_out(table, np.ones((1, len(table)), np.int8))
    count = int(correct[0])
    reached = 0
    batch = max(1, 4_000_000 // table.size)
    for start in range(0, _EXCHANGES, batch):
        size = min(batch, _EXCHANGES - start)
        flips = rng.choice(np.array([-1, 1], np.int8), (size, len(table)))
        reached += int((_left_out(table, flips)[0] >= count).sum())
    rule = names[Counter(used[0].tolist()).most_common(1)[0][0]]
    return count, float(binom.sf(count - 1, len(signs), 0.5)), (reached + 1) / (_EXCHANGES + 1), rule


def single_images(facts: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> dict[str, str]:
    """Facts of the pixel container that tell the arm of ONE image, with how well.

    ``facts``: of each pair, both images' container statistics. A fact tells where the area under the curve over all
    single images is .9 or more, its median differs by more than its limit, and fewer than one in a thousand random
    exchanges of the arms within pairs do as well; with fewer than ten pairs nothing can.
    """
    found = {}
    for name, limit in _CONTAINER_LIMITS.items():
        values = np.array([[arm[name] for arm in pair] for pair in facts if all(name in arm for arm in pair)]).T
        if values.size == 0 or values.shape[1] < 10:
            continue
        area = _area(values[0], values[1])
        if max(area, 1 - area) < _TOLD or abs(float(np.median(values[1]) - np.median(values[0]))) <= limit:
            continue
        rng = np.random.default_rng(20_000_102)
        swapped = (np.where(rng.random(values.shape[1]) < 0.5, values, values[::-1]) for _ in range(_EXCHANGES))
        reached = sum(abs(_area(*arms) - 0.5) >= abs(area - 0.5) - 1e-9 for arms in swapped)
        if (reached + 1) / (_EXCHANGES + 1) <= _RARELY:
            found[name] = f"single images are told by it, area under the curve {max(area, 1 - area):.2f}"
    return found


def _area(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    above = np.sign(second[:, None] - first[None])
    return float((above.mean() + 1) / 2)


def _left_out(table: NDArray[np.int8], flips: NDArray[np.int8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each row of ``flips`` [exchange, pair]: the count of right guesses, and the aspect used for each pair."""
    turned = flips[:, :, None] * table[None]
    totals = np.rint(flips.astype(np.float32) @ table.astype(np.float32)).astype(np.int16)
    others = totals[:, None, :] - turned
    best = np.argmax(np.abs(others), axis=2)[..., None]
    guesses = np.sign(np.take_along_axis(others, best, axis=2)) * np.take_along_axis(turned, best, axis=2)
    return (guesses[..., 0] > 0).sum(axis=1), best[..., 0]


def _differences(first: SeriesFacts, second: SeriesFacts) -> dict[str, str]:
    if len(first.files) != len(second.files):
        return {"number of files": f"{len(first.files)} and {len(second.files)}"}
    found: dict[str, str] = {}
    for one, other in zip(first.files, second.files, strict=True):
        if one.attributes == other.attributes:
            continue
        for attribute in {**one.attributes, **other.attributes}:
            a, b = one.attributes.get(attribute, "absent"), other.attributes.get(attribute, "absent")
            if a != b:
                found.setdefault(attribute, f"{_shown(attribute, a)} and {_shown(attribute, b)} in {one.name}")
    if len(found) > 1:  # it only repeats that an attribute is present in one arm
        found.pop("order of attributes", None)
    return found


def _shown(attribute: str, value: str) -> str:
    """A value for a message; what can identify a person, a place or a day is never repeated."""
    personal = any(word in attribute for word in _PERSONAL) and value != "absent" and "(form)" not in attribute
    return "a value (not shown)" if personal else value[:80]


def _container_differences(first: SeriesFacts, second: SeriesFacts) -> dict[str, str]:
    return {
        name: f"{first.container[name]:.3g} and {second.container[name]:.3g}"
        for name, limit in _CONTAINER_LIMITS.items()
        if name in first.container
        and name in second.container
        and abs(first.container[name] - second.container[name]) > limit
    }


def _signs(pair: Pair, first: SeriesFacts, second: SeriesFacts) -> dict[str, int]:
    signs = dict(name_signs("series name", *_names(pair)))
    for name in first.orders:
        a, b = first.orders[name], second.orders[name]
        signs[name] = int(a > b) - int(a < b)
    one, other = first.files[0], second.files[0]
    for name in one.identifiers:
        if name in other.identifiers:
            signs.update(name_signs(name, one.identifiers[name], other.identifiers[name]))
    return signs


def _names(pair: Pair) -> tuple[str, str]:
    """The parts of the two paths that differ, without what the arms' own folders are called."""
    a, b = pair.first[0], pair.second[0]
    return (a.parent.name, b.parent.name) if a.name == b.name else (a.name, b.name)


def uniform_attributes(series: Iterable[tuple[str, Sequence[FileFacts]]]) -> list[Finding]:
    """The gate without a key: over a whole package every file must have the same attributes with the same values,
    apart from geometry, window, instance number and identifiers, which belong to a case and not to an arm."""
    varying = ("Rows", "Columns", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient")
    allowed = {*varying, "ImageOrientationPatient", "WindowCenter", "WindowWidth", "InstanceNumber", "PixelData"}
    allowed |= {"file name", "file size", "viewer image header"}
    expected: dict[str, str] | None = None
    found: dict[str, list[str]] = {}
    for name, files in series:
        for facts in files:
            fixed = {key: "present" if key in allowed else value for key, value in facts.attributes.items()}
            if expected is None:
                expected = fixed
            if fixed != expected:
                for key in {**expected, **fixed}:
                    if expected.get(key) != fixed.get(key):
                        text = f"{name}/{facts.name}: {_shown(key, fixed.get(key, 'absent'))}, elsewhere "
                        found.setdefault(key, []).append(text + _shown(key, expected.get(key, "absent")))
    return [Finding("equality", key, len(cases), cases[0], True) for key, cases in found.items()]

"""How long work speaks: progress as a stage and a fraction of the whole, and single lines for people."""

from collections.abc import Callable

Report = Callable[[str, float], None]
"""``report(stage, fraction)``: the stage in words, and the fraction done of the whole call, 0 to 1."""


def silent(stage: str, fraction: float) -> None:
    """Report nothing."""


def part_of(report: Report, first: float, last: float) -> Report:
    """For work that is the part of a whole from fraction ``first`` to ``last``; it counts from 0 to 1 itself."""
    return lambda stage, fraction: report(stage, first + (last - first) * fraction)


Note = Callable[[str], None]
"""``note(line)``: one line for people about something that happened, such as a candidate that was left out."""


def unsaid(line: str) -> None:
    """Say nothing."""

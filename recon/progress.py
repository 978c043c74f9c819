"""The one progress protocol: what is being done, and which fraction of the whole is behind."""

from collections.abc import Callable

Report = Callable[[str, float], None]
"""``report(stage, fraction)``: the stage in words, and the fraction done of the whole call, 0 to 1."""


def silent(stage: str, fraction: float) -> None:
    """Report nothing."""

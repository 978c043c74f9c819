"""Names of arms, readers, items, cohorts and cases: safe in files, tables and forms."""

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


def check_names(what: str, names: list[str]) -> None:
    """Raises ValueError for a name of other characters, or one that stands twice."""
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"key '{what}': {name!r} must be letters, digits, '-' and '_' (at most 32)")
    folded = [name.casefold() for name in names]  # file systems that ignore case
    twice = sorted({name for name in names if folded.count(name.casefold()) > 1})
    if twice:
        raise ValueError(f"key '{what}': {', '.join(twice)} stands twice")

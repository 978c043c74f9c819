"""Options declared once: a field of a dataclass with its help, from which YAML keys and command lines are made.

    @dataclass(frozen=True)
    class SenseOptions:
        coils: int = option(16, "Virtual coils to compress to.", minimum=1)

        def __post_init__(self) -> None:
            check_minimums(self)

Only the standard library is imported, so that ``recon --help`` need not wait for more.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

KEY = "recon.option"
REQUIRED: Any = dataclasses.MISSING  # the default of an option that must be given


@dataclass(frozen=True)
class OptionFacts:
    """What a field says of itself beside its type and default; see ``option``."""

    help: str
    flag: str | None = None
    metavar: str | None = None
    minimum: float | None = None
    read: Callable[[str], Any] | None = None


def option(
    default: Any,
    help: str,
    *,
    flag: str | None = None,
    metavar: str | None = None,
    minimum: float | None = None,
    read: Callable[[str], Any] | None = None,
) -> Any:
    """A dataclass field that is a YAML key and a flag at once.

    Args:
        default: the value without key and flag, never mutable. Where it is None, ``help`` must say what that means.
            ``REQUIRED``: there is none.
        help: one or two sentences; the command line adds the default.
        flag: the flag, where it is not the field's name with dashes (``--keep-samples``).
        metavar: how the value is called in the help, where the type's name says too little.
        minimum: smallest value allowed, checked by the command line and by ``check_minimums``.
        read: makes the value of a word of the command line (``30m``); may raise ReconError.
    """
    facts = OptionFacts(help, flag, metavar, minimum, read)
    return dataclasses.field(default=default, metadata={KEY: facts})


def option_facts(field: "dataclasses.Field[Any]") -> OptionFacts | None:
    """What the field was declared with by ``option``; None for another kind of field."""
    return field.metadata.get(KEY)


def check_minimums(options: Any) -> None:
    """For a dataclass's ``__post_init__``: raise ValueError when a value lies below its ``minimum``."""
    for field in dataclasses.fields(options):
        facts, value = option_facts(field), getattr(options, field.name)
        # Written so that NaN is refused, too.
        if facts is not None and facts.minimum is not None and value is not None and not value >= facts.minimum:
            raise ValueError(f"{field.name} must be at least {facts.minimum:g}, not {value}")

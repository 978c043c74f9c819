"""Numbers as the report writes them."""

import math


def number(value: float | None, digits: int = 2) -> str:
    """A number for people: true minus sign, an en dash where there is none, ∞ for an interval without an end."""
    if value is None or value != value:
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """An interval for people: "−0.12 to 0.30"."""
    return f"{number(low, digits)} to {number(high, digits)}"


def p_text(value: float) -> str:
    """A p value for people: "p < .001", "p = .042"."""
    if value != value:
        return "p –"
    return "p < .001" if value < 0.001 else f"p = {value:.3f}".replace("0.", ".", 1)


def p_cell(value: float) -> str:
    """A p value in a column that is headed p: "< .001", ".042"."""
    return p_text(value).removeprefix("p ").removeprefix("= ")


def verdict(shown: bool) -> str:
    """Was a bound above the margin? Never "no": not shown is not the opposite of shown."""
    return "yes" if shown else "not shown"

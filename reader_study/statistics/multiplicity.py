"""Control of the familywise error over the secondary items (Holm 1979)."""

from dataclasses import dataclass

from statsmodels.stats.multitest import multipletests

METHOD = "Holm's step-down procedure"


@dataclass(frozen=True)
class Adjusted:
    """One hypothesis of the family: its raw and adjusted p value, and whether it is rejected at the family's alpha."""

    name: str
    p_value: float
    p_adjusted: float
    rejected: bool


def holm(p_values: dict[str, float], alpha: float) -> list[Adjusted]:
    """Holm-adjusted p values of a family of named hypotheses at familywise error ``alpha``."""
    if not p_values:
        return []
    rejected, adjusted, _, _ = multipletests(list(p_values.values()), alpha=alpha, method="holm")
    return [
        Adjusted(name, float(raw), float(changed), bool(claim))
        for (name, raw), changed, claim in zip(p_values.items(), adjusted, rejected, strict=True)
    ]

"""The series of a case that one presentation shows together: FLAIR, DWI, ADC."""

from collections.abc import Sequence
from dataclasses import dataclass

from reader_study.pseudonyms import check_names

MOST = 6  # panes of one arm; more would be too small to read


@dataclass(frozen=True)
class ShownSequence:
    """One sequence. Its ``name`` stands beside its pane, in the worklist's DICOM series and in no other place."""

    name: str
    by_arm: bool = True  # False: the reference arm's series is shown in every arm


def check_sequences(sequences: Sequence[ShownSequence]) -> None:
    """Raises ValueError for names that no file can have, a single sequence, too many, and arms that differ in none."""
    if not sequences:
        return
    check_names("sequences", [sequence.name for sequence in sequences])
    if not 2 <= len(sequences) <= MOST:
        raise ValueError(f"key 'sequences' must name 2 to {MOST} sequences; leave it out where a case is one series")
    if not any(sequence.by_arm for sequence in sequences):
        raise ValueError("key 'sequences': one sequence or more must differ by arm, or there is nothing to compare")


def described(sequences: Sequence[ShownSequence]) -> str:
    """For plans and reports: "FLAIR, DWI, ADC together (ADC the same in all arms)"; "" where a case is one series."""
    same = ", ".join(sequence.name for sequence in sequences if not sequence.by_arm)
    names = ", ".join(sequence.name for sequence in sequences)
    return f"{names} together" + (f" ({same} the same in all arms)" if same else "") if names else ""

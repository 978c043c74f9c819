"""Sets of contrasts by name, such as ``T1+T2+FLAIR``, and persons who were all examined with one set or another.

Two hospitals seldom measure the same series. A network that is trained on persons of either and judged on a set that
nobody was trained with says how it transfers.
"""

from collections.abc import Sequence
from dataclasses import replace

from recon.errors import ReconError
from recon.study.contrasts import INPUTS, in_order
from recon.study.store import person_hash
from recon.study.volume import StudyVolume


def contrast_set(words: str) -> tuple[str, ...]:
    """``T1+FLAIR`` as contrasts, in the order of ``INPUTS``. Raises ReconError for anything else."""
    names = [word.strip().upper() for word in words.split("+")]
    if len(set(names)) < len(names) or set(names) - set(INPUTS):
        raise ReconError(f"set of contrasts '{words}': join with + each once of {', '.join(INPUTS)}")
    return in_order(names)


def by_protocol(volumes: Sequence[StudyVolume], protocols: Sequence[str]) -> list[StudyVolume]:
    """Each person's studies with the series of one of ``protocols`` only, turn by turn in the order of their hashes;
    without protocols as they are. Raises ReconError when a study has not all series of its protocol."""
    if not protocols:
        return list(volumes)
    sets = [contrast_set(words) for words in protocols]
    persons = sorted({volume.person for volume in volumes}, key=person_hash)
    turns = {person: sets[number % len(sets)] for number, person in enumerate(persons)}
    return [with_contrasts(volume, turns[volume.person]) for volume in volumes]


def with_contrasts(volume: StudyVolume, contrasts: tuple[str, ...]) -> StudyVolume:
    """The study with these series only. Raises ReconError when it lacks one."""
    if missing := set(contrasts) - set(volume.contrasts):
        raise ReconError(f"study {volume.name}: has no {', '.join(sorted(missing))}, which its protocol asks for")
    rows = [volume.contrasts.index(name) for name in contrasts]
    return replace(volume, contrasts=contrasts, values=volume.values[rows])

"""The study protocol: everything that must be decided before the first image is read.

A protocol is a YAML file (a commented one: ``recon reader-study plan --template FILE``) checked into frozen
dataclasses. Its identity is the SHA-256 of its canonical form: comments, order of keys and line breaks do not
count, every value does, defaults included. Packages, score sheets, the sealed key and the log all carry it.
"""

import dataclasses
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from reader_study.adjudication_rule import Adjudication
from reader_study.canonical import digest
from reader_study.case_truth import CaseTruth
from reader_study.family import Family
from reader_study.item import Item
from reader_study.localisation_rule import Localisation
from reader_study.pseudonyms import NAME, check_names
from reader_study.sequences import ShownSequence, check_sequences
from recon.configuration import load_config
from recon.errors import ReconError

FORMAT = "recon-reader-protocol-1"

Mode = Literal["independent", "side-by-side", "preference"]
Role = Literal["reference", "new"]


@dataclass(frozen=True)
class Arm:
    """One way of making the images. Exactly one arm is the ``reference``; each ``new`` one is compared with it."""

    name: str
    role: Role
    description: str  # for the report; never shown to a reader


@dataclass(frozen=True)
class Reader:
    """A reader under a pseudonym; ``experience`` goes into the report (GRRAS item 9)."""

    id: str
    experience: str
    reserve: bool = False  # exported with all others, read only when called in ('recon reader-study call-in')


@dataclass(frozen=True)
class Sessions:
    """How the reading is cut up. With several sessions two arms of a case never share one."""

    count: int = 1
    washout_weeks: float = 4.0  # least time between sessions
    separation: int = 10  # least number of presentations between two of the same case within a session
    training: Literal["first", "every"] = "every"  # sessions that start with the training cases

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 20:
            raise ValueError("key 'count' must be between 1 and 20 sessions")
        if not 0 <= self.washout_weeks <= 520 or (self.count > 1 and self.washout_weeks == 0):
            raise ValueError("key 'washout_weeks' must be 520 or less, and positive when there are several sessions")
        if self.separation < 0:
            raise ValueError("key 'separation' must be 0 or more")


@dataclass(frozen=True)
class Primary:
    """The one confirmatory comparison, d = new - reference, oriented so that higher is better.

    ``margin`` is in points of the primary item's scale; in preference mode in net preference, P(new) - P(reference),
    between 0 and 1; of a rating of confidence in area under the ROC curve. ``alpha`` is one-sided. ``readers: fixed``
    claims for these readers only; ``random`` generalises to readers (Obuchowski-Rockette) and needs at least three.
    """

    item: str
    hypothesis: Literal["non-inferiority", "superiority"]
    margin: float
    margin_justification: str
    alpha: float = 0.025
    readers: Literal["fixed", "random"] = "fixed"
    population: Literal["complete-pairs", "per-protocol"] = "complete-pairs"  # per-protocol drops logged deviations
    multiplicity: Literal["primary-only", "holm"] = "primary-only"  # what happens to the other items' p-values

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError("key 'alpha' must be between 0 and 0.5 (one-sided)")
        if self.hypothesis == "non-inferiority" and not self.margin > 0:
            raise ValueError("key 'margin' must be positive for a non-inferiority study")
        if self.hypothesis == "superiority" and self.margin != 0:
            raise ValueError("key 'margin' must be 0 for a superiority study")
        if len(set(re.findall(r"[^\W\d_]{3,}", self.margin_justification.casefold()))) < 5:
            raise ValueError("key 'margin_justification' must say in a sentence why this margin is acceptable")


@dataclass(frozen=True)
class Guess:
    """The end-of-study question behind Bang's blinding index; asked after the last score of the last session."""

    presentations: int = 10  # images (or pairs) of the last session, half of each arm (side); 0: do not ask
    question: str = "Which reconstruction do you think this is?"
    reference_label: str = "standard"
    new_label: str = "accelerated"

    def __post_init__(self) -> None:
        if self.presentations < 0:
            raise ValueError("key 'presentations' must be 0 or more")


@dataclass(frozen=True)
class Viewing:
    """What the reader may do in the viewer."""

    going_back: bool = False  # may a finished presentation be opened and changed again?
    ties: bool = True  # preference mode: is 'no difference' an answer?
    flags: tuple[str, ...] = ("hallucination", "artifact")  # marks with slice and position
    comments: bool = True
    intensity: Literal["as-is", "median-matched"] = "as-is"  # median-matched: arms scaled to one median brightness
    body_part: str = "HEAD"  # DICOM Body Part Examined

    def __post_init__(self) -> None:
        if not all(NAME.fullmatch(flag) for flag in self.flags) or len(set(self.flags)) != len(self.flags):
            raise ValueError("key 'flags' must be different words of letters, digits, '-' and '_'")
        if not re.fullmatch(r"[A-Z0-9 _]{1,16}", self.body_part):
            raise ValueError("key 'body_part' must be a DICOM term in capitals, such as HEAD or KNEE")


@dataclass(frozen=True)
class Protocol:
    """A validated study protocol. Read one with ``load_protocol``."""

    title: str
    question: str
    mode: Mode
    arms: tuple[Arm, ...]
    cases: dict[str, tuple[str, ...]]  # cohort name -> case pseudonyms
    readers: tuple[Reader, ...]
    items: tuple[Item, ...]
    primary: Primary
    training_cases: tuple[str, ...] = ()  # shown first, both arms, never analysed
    repeats: int = 0  # cases each reader sees a second time, for intra-reader agreement
    sessions: Sessions = field(default_factory=Sessions)
    viewing: Viewing = field(default_factory=Viewing)
    guess: Guess = field(default_factory=Guess)
    truth: CaseTruth | None = None  # for ratings of confidence: which cases have the disease
    comparisons: Family | None = None  # three or more arms: how their primary tests share alpha
    readers_per_case: int | None = None  # case subsets by reader; None: every reader reads every case
    adjudication: Adjudication | None = None  # when a third reader decides
    localisation: Localisation | None = None  # lesions that are marked in the images
    sequences: tuple[ShownSequence, ...] = ()  # series of a case that are shown together; (): a case is one series
    instructions: str = ""  # shown to the readers before the first image, plain text; blank line = new paragraph

    def __post_init__(self) -> None:
        check_names("arms", [arm.name for arm in self.arms])
        check_names("readers", [reader.id for reader in self.readers])
        check_names("items", [item.id for item in self.items])
        self._check_arms()
        if not self.planned_readers:
            raise ValueError("key 'readers' names reserves only")
        if not self.cases:
            raise ValueError("key 'cases' is empty")
        check_names("cohorts", list(self.cases))
        check_names("cases", [*self.case_ids, *self.training_cases])
        if len(self.case_ids) < 2:
            raise ValueError("key 'cases' needs at least two cases")
        if not 0 <= self.repeats <= len(self.case_ids):
            raise ValueError(f"key 'repeats' must be between 0 and the number of cases ({len(self.case_ids)})")
        preference = self.mode == "preference"
        for item in self.items:
            if preference != (item.direction == "preferred-is-better"):
                expected = (
                    "'preferred-is-better'" if preference else "'higher-is-better', 'lower-is-better' or -is-present"
                )
                raise ValueError(f"item '{item.id}': direction must be {expected} in mode '{self.mode}'")
        if self.primary.item not in {item.id for item in self.items}:
            raise ValueError(f"primary item '{self.primary.item}' is not one of the items")
        primary = self.item(self.primary.item)
        if not primary.required:
            raise ValueError(f"item '{primary.id}' is the primary item and must be required")
        widest = 0.5 if primary.confidence else 1 if preference else primary.scale[-1] - primary.scale[0]
        if self.primary.margin >= widest:
            whole = "all that lies between chance and perfection" if primary.confidence else "the whole scale"
            whole = "half of the figure of merit" if self.located(primary) else whole
            raise ValueError(f"margin {self.primary.margin:g} covers {whole} of item '{primary.id}'")
        check_sequences(self.sequences)
        if self.localisation is not None:
            self.localisation.check(self.items, self.mode, self.viewing.flags)
        self._check_truth()
        self._check_subsets()
        if self.adjudication is not None:
            names = [reader.id for reader in self.readers]
            scales = {item.id: item.scale for item in self.items if item.scale and not item.confidence}
            self.adjudication.check(scales, names, self.mode, self.primary.readers)
        if self.primary.readers == "random" and len(self.planned_readers) < 3:
            raise ValueError("readers: random needs three or more readers; with two, choose 'fixed'")

    def _check_arms(self) -> None:
        roles = [arm.role for arm in self.arms]
        if roles.count("reference") != 1 or "new" not in roles:
            raise ValueError("key 'arms' must name one arm with role 'reference', and one or more with role 'new'")
        if len(self.arms) == 2:
            if self.comparisons is not None:
                raise ValueError("key 'comparisons' is for three and more arms; with two there is one comparison")
            return
        if self.mode != "independent":
            raise ValueError(
                f"{len(self.arms)} arms need mode 'independent'; to show pairs, plan one study for each new arm"
            )
        if self.comparisons is None:
            raise ValueError(
                f"{len(self.arms)} arms need the key 'comparisons' (procedure: holm or fixed-sequence): how the "
                "comparisons with the reference share alpha must be frozen before anybody reads"
            )
        self.comparisons.check_arms(self.compared)
        if 1 < self.sessions.count < len(self.arms):
            raise ValueError(
                f"{len(self.arms)} arms need {len(self.arms)} sessions or more, for a reader may not see two arms of a "
                "case in one (or a single session, without washout)"
            )

    def _check_truth(self) -> None:
        ratings = [item.id for item in self.items if item.confidence and not self.located(item)]
        if ratings and self.mode != "independent":
            raise ValueError(f"item '{ratings[0]}': confidence beside the other arm's image is not independent of it")
        if bool(ratings) != (self.truth is not None):
            raise ValueError(
                f"item '{ratings[0]}' needs the key 'truth': which cases have the condition"
                if ratings
                else "key 'truth' serves no item; give one the direction 'higher-is-present' or 'lower-is-present'"
            )
        if self.truth is not None:
            self.truth.check_covers(self.case_ids)

    def _check_subsets(self) -> None:
        size, readers = self.readers_per_case, len(self.readers)
        if size is None:
            return
        if not 1 <= size < readers:
            raise ValueError(f"key 'readers_per_case' must be between 1 and {readers - 1}, fewer than the readers")
        if len(self.planned_readers) < readers:
            raise ValueError(
                "key 'readers_per_case' leaves no cases for a reserve, who cannot know whose to take; who takes a lost "
                "reader's place is added after the export ('recon reader-study add-reader')"
            )
        fewest = len(self.case_ids) * size // readers
        if fewest < max(2, self.repeats):
            raise ValueError(
                f"key 'readers_per_case': a reader has {fewest} cases, too few; 2 and 'repeats' are needed"
            )

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Every analysed case, cohort by cohort."""
        return tuple(case for cases in self.cases.values() for case in cases)

    @property
    def planned_readers(self) -> tuple[Reader, ...]:
        """The readers without the reserves."""
        return tuple(reader for reader in self.readers if not reader.reserve)

    @property
    def reference(self) -> str:
        """Name of the reference arm."""
        return next(arm.name for arm in self.arms if arm.role == "reference")

    @property
    def new(self) -> str:
        """Name of the new arm of a study of two arms; of several ``versus`` makes such studies."""
        (name,) = self.compared
        return name

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the new arms, each of which is compared with the reference."""
        return tuple(arm.name for arm in self.arms if arm.role == "new")

    @property
    def arm_names(self) -> tuple[str, ...]:
        """All arms, the reference first."""
        return self.reference, *self.compared

    def versus(self, new: str) -> "Protocol":
        """The study of two arms that holds one comparison with the reference. Its hash is no study's."""
        pair = tuple(arm for arm in self.arms if arm.name in (self.reference, new))
        return dataclasses.replace(self, arms=pair, comparisons=None)

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """The sequences of a presentation, in the order in which they are shown; one without a name if there is one."""
        return tuple(sequence.name for sequence in self.sequences) or ("",)

    def same_in_all_arms(self, sequence: str) -> bool:
        """Is this sequence shown the same way in all arms, taken from the reference arm?"""
        return any(one.name == sequence and not one.by_arm for one in self.sequences)

    @property
    def paired(self) -> bool:
        """Does one presentation show both arms (side-by-side and preference)?"""
        return self.mode != "independent"

    def item(self, name: str) -> Item:
        """The item with this id; KeyError when there is none."""
        for item in self.items:
            if item.id == name:
                return item
        raise KeyError(name)

    def in_primary_unit(self, item: Item) -> bool:
        """Are differences on this item in the unit of the primary one: an area under one curve, or points?"""
        primary = self.item(self.primary.item)
        return (item.confidence, self.located(item)) == (primary.confidence, self.located(primary))

    def located(self, item: Item) -> bool:
        """Is the item answered by marks in the images?"""
        return self.localisation is not None and item.id == self.localisation.item

    def cohort_of(self, case: str) -> str:
        """The cohort of an analysed case; 'training' for a training case; KeyError for a foreign one."""
        if case in self.training_cases:
            return "training"
        return next(cohort for cohort, cases in self.cases.items() if case in cases)

    @property
    def score_keys(self) -> tuple[str, ...]:
        """The keys of one presentation's scores: ``item``, or ``item@A`` and ``item@B`` in side-by-side mode.

        An item that is answered by marks has none.
        """
        if self.mode == "side-by-side":
            return tuple(f"{item.id}@{side}" for item in self.items for side in "AB")
        return tuple(item.id for item in self.items if not self.located(item))

    def allowed(self, score_key: str) -> tuple[int | str, ...]:
        """The answers that a score key may hold."""
        item = self.item(score_key.split("@")[0])
        return item.scale if item.scale else ("A", "tie", "B") if self.viewing.ties else ("A", "B")

    def as_mapping(self) -> dict[str, Any]:
        """The protocol as plain JSON types, defaults included; ``from_mapping`` reads it back."""
        values = dataclasses.asdict(self)
        for reader in values["readers"]:
            if not reader["reserve"]:  # as in protocols of before there were reserves
                del reader["reserve"]
        if self.truth is None:  # as in protocols of before there was one
            del values["truth"]
        for name in ("comparisons", "readers_per_case", "adjudication", "sequences", "localisation"):
            if not values[name]:
                del values[name]
        return values

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical form: the study's identity."""
        return digest({"format": FORMAT, "protocol": self.as_mapping()})


def load_protocol(path: str | Path) -> Protocol:
    """Read and check a protocol. Raises ReconError naming the file, the key and what is expected."""
    if not Path(path).is_file():
        raise ReconError(f"{path}: no such protocol; write one with 'recon reader-study plan --template FILE'")
    return load_config(Protocol, path)

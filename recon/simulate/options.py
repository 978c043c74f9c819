"""How to simulate: one declaration for the library, the command line and the manifest of a cohort.

Only the standard library is imported, so that ``recon --help`` need not wait for more.
"""

import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from recon.errors import ReconError
from recon.options import option

Stage = Literal["acute", "subacute", "chronic"]
STAGES: tuple[Stage, ...] = get_args(Stage)
Plane = Literal["axial", "sagittal"]
PLANES: tuple[Plane, ...] = get_args(Plane)
StrokeKind = Literal["infarct", "haemorrhage"]
TERRITORIES = ("MCA", "ACA", "PCA", "lacunar", "cerebellar")
SITE_NAMES = ("site-a", "site-b", "site-c", "site-d")
BUILTIN_ANATOMY = "icbm152"


def read_matrix(text: str) -> tuple[int, int]:
    """``192`` or ``256,192`` as (readout, phase). Raises ReconError for anything else."""
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise ReconError(f"--size {text}: give one number, or readout,phase such as 256,192")
    return numbers[0], numbers[-1]


@dataclass(frozen=True)
class SimulationOptions:
    """What makes two runs the same cohort. The number of subjects and the contrasts may grow later.

    ``anatomy``, ``lesion_shapes`` and ``territories`` are paths. Raises ReconError for values out of range and for
    options of a stroke without a stroke.
    """

    size: tuple[int, int] = option(
        (192, 192), "Matrix: one number, or readout,phase.", metavar="N or N,N", read=read_matrix
    )
    coils: int = option(8, "Receive coils.")
    slices: int = option(8, "Slices a subject.")
    snr: float = option(30.0, "Mean brain signal over noise std (per real component, coils combined).")
    stroke: bool = option(False, "Give every subject a stroke, with its mask.", flag="--stroke")
    seed: int = option(0, "The same seed gives the same scans.")
    oversampling: int = option(1, "Readout oversampling, 1 or 2.")
    field_of_view: float | None = option(
        None, "Millimetres along the readout. Without it: 220 to 250, drawn for each subject."
    )
    thickness: float | None = option(None, "Slice thickness in mm. Without it: 3 to 5, drawn.")
    territory: str | None = option(
        None, f"Where the stroke is: {', '.join(TERRITORIES)}. Without it: as often as in patients."
    )
    stage: Stage | None = option(None, "How old the stroke is. Without it: any age.")  # noqa: RUF009
    stroke_kind: StrokeKind = option(  # noqa: RUF009
        "infarct", "What the stroke is: infarct, or haemorrhage (dark in T2STAR; by its age bright or dark elsewhere)."
    )
    plane: str = option(
        "axial",
        "Plane of the slices: axial, sagittal, or both (each contrast in either plane, of the same person). For the "
        "last two whole heads are drawn, which takes longer.",
    )
    anatomy: str | None = option(
        None, "Folder of labelled npz or NIfTI heads, or of real images. Without it: the built-in head."
    )
    lesion_shapes: str | None = option(
        None, "Folder of real lesion masks (NIfTI, MNI space) to use as shapes. Without it: drawn shapes."
    )
    territories: str | None = option(
        None, "Atlas of arterial territories (NIfTI, MNI space). Without it: the built-in ones."
    )

    site: str | None = option(
        None,
        "A made-up site with fixed field strength, timing, noise, shading and sharpness: site-a, site-b, site-c or "
        "site-d. Without it: each subject has a protocol of its own.",
    )

    cohort: str | None = option(
        None,
        "A word that begins the names of persons and files, and seeds their draws: cohorts of different words share no "
        "simulated person and can be put together. Without it the same names come with every seed.",
        metavar="WORD",
    )

    def __post_init__(self) -> None:
        if self.cohort is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", self.cohort):
            raise ReconError(f"--cohort {self.cohort!r}: give at most 40 letters, digits, - and _, as of a file's name")
        if min(self.size) < 16 or max(self.size) > 1024:
            raise ReconError(f"size {self.size[0]} x {self.size[1]} is out of range; choose 16 to 1024")
        if not 1 <= self.coils <= 128:
            raise ReconError(f"{self.coils} coils: choose 1 to 128")
        if not 1 <= self.slices <= 256:
            raise ReconError(f"{self.slices} slices: choose 1 to 256")
        if not math.isfinite(self.snr) or self.snr <= 0:
            raise ReconError(f"SNR {self.snr} must be a positive number")
        if self.site is not None and self.site not in SITE_NAMES:
            raise ReconError(f"--site {self.site}: unknown; choose from {', '.join(SITE_NAMES)}")
        if self.oversampling not in (1, 2):
            raise ReconError(f"readout oversampling {self.oversampling}: choose 1 or 2")
        if self.field_of_view is not None and not 200 <= self.field_of_view <= 500:
            raise ReconError(f"field of view {self.field_of_view} mm: choose 200 to 500")
        if self.thickness is not None and not 0.5 <= self.thickness <= 10:
            raise ReconError(f"slice thickness {self.thickness} mm: choose 0.5 to 10")
        if self.plane not in (*PLANES, "both"):
            raise ReconError(f"--plane {self.plane}: choose from {', '.join(PLANES)} or both")
        self._check_stroke()

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes that are measured."""
        return tuple(plane for plane in PLANES if self.plane in (plane, "both"))

    def _check_stroke(self) -> None:
        if self.territory is not None and self.territories is None and self.territory not in TERRITORIES:
            raise ReconError(f"territory {self.territory!r} is unknown; choose from {', '.join(TERRITORIES)}")
        if self.stage is not None and self.stage not in STAGES:
            raise ReconError(f"lesion stage {self.stage!r} is unknown; choose from {', '.join(STAGES)}")
        described = (self.territory, self.stage, self.lesion_shapes, self.territories)
        if self.stroke_kind not in get_args(StrokeKind):
            raise ReconError(
                f"kind of stroke {self.stroke_kind!r} is unknown; choose from {', '.join(get_args(StrokeKind))}"
            )
        if (any(value is not None for value in described) or self.stroke_kind != "infarct") and not self.stroke:
            raise ReconError(
                "--territory, --stage, --stroke-kind, --lesion-shapes and --territories describe a stroke; add --stroke"
            )
        if self.lesion_shapes is not None and (self.territory is not None or self.territories is not None):
            raise ReconError("--lesion-shapes brings its own places; leave out --territory and --territories")

    def identity(self) -> dict[str, Any]:
        """What the manifest of a cohort holds: these options as JSON knows them, folders by their names alone, as a
        folder may be moved while a cohort grows."""
        names = {
            key: Path(path).name for key in ("anatomy", "lesion_shapes", "territories") if (path := getattr(self, key))
        }
        own = asdict(self)
        if self.site is None:
            del own["site"]  # as in manifests from before there were sites
        if self.plane == "axial":
            del own["plane"]
        if self.cohort is None:
            del own["cohort"]
        if self.stroke_kind == "infarct":
            del own["stroke_kind"]  # as in manifests from before there was another
        return {**own, "size": list(self.size), "anatomy": BUILTIN_ANATOMY, **names}

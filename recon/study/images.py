"""The images of a study: scans reconstructed by the one pipeline, and kept; results, NIfTI and DICOM as they are.

To train on, the root sum of squares of a fully sampled scan will do, and is there at once; what acceleration costs is
measured against the image that the pipeline makes of all that was measured.
"""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from recon.acquisition.rss import reference_image
from recon.encode.volumes import Series, read_series
from recon.errors import ReconError
from recon.images.dicom_reading import is_dicom
from recon.images.nifti import is_nifti
from recon.images.volume import is_result
from recon.prior.store import Prior
from recon.reconstruction.cohort import check_kept
from recon.reconstruction.methods import METHODS
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct_to_file
from recon.scan import Scan
from recon.scans.derived import require_fully_sampled, with_mask
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersampling_mask
from recon.study.contrasts import UNWEIGHTED
from recon.study.table import Study

COMPLETE_METHOD = "zero-filled"  # of complete k-space: the coils combined, the noise as it was measured


def is_scan(path: Path) -> bool:
    """Whether the file should hold k-space."""
    return path.is_file() and not (is_nifti(path) or is_dicom(path) or is_result(path))


@dataclass(frozen=True)
class Reconstructions:
    """Where reconstructions of a study's scans are kept, and the prior for methods that need one.

    ``opened`` are scans whose headers were read; clear it between studies.
    """

    folder: Path
    prior: Prior | None = None
    device: str = "cpu"
    seed: int = 0
    opened: dict[Path, Scan] = field(default_factory=dict, compare=False)

    def scan(self, path: Path) -> Scan:
        """The fully sampled scan of a file. Raises ReconError when it is none."""
        if path not in self.opened:
            scan = open_scan(path)
            try:
                require_fully_sampled(scan)
            except ReconError as error:
                raise ReconError(
                    f"{path}: undersampled {scan.acceleration:.1f}x; reconstruct it first ('recon reconstruct') and "
                    "name the result in the table of studies"
                ) from error
            self.opened[path] = scan
        return self.opened[path]

    def complete(self, path: Path) -> Series:
        """The image of all that was measured. Raises ReconError when the file holds none."""
        if not is_scan(path):
            return read_series(path)
        return read_series(self._kept(self.scan(path), COMPLETE_METHOD))

    def quick(self, path: Path) -> Series:
        """The root sum of squares of all that was measured, noise included. Raises ReconError when there is none."""
        if not is_scan(path):
            return read_series(path)
        # A simulated scan stores its noise-free truth, which no scanner gives.
        scan = replace(self.scan(path), read_reference=None)
        images = np.stack([reference_image(scan, index) for index in range(scan.shape[0])], axis=-1)
        return Series(path, images.astype(np.float32), scan.affine, "root sum of squares", scan.contrast)

    def accelerated(
        self, path: Path, acceleration: float, method: str, mask: str = "equispaced"
    ) -> tuple[Series, float]:
        """The image that a faster scan would have given, and its net acceleration. Raises ReconError."""
        scan = self.scan(path)
        drawn = undersampling_mask(scan, UndersamplingOptions(acceleration=acceleration, mask=mask, seed=self.seed))
        fast = with_mask(scan, drawn)
        return read_series(self._kept(fast, method)), fast.acceleration

    def _kept(self, scan: Scan, method: str) -> Path:
        options = ReconstructionOptions(method=method, seed=self.seed)
        prior = self.prior if METHODS[method].needs_prior else None
        used = None if prior is None else prior.facts.weights_sha256
        key = f"{scan.digest}|{method}|{self.seed}|{used}"
        path = self.folder / f"{scan.path.stem}_{hashlib.sha256(key.encode()).hexdigest()[:16]}.h5"
        if path.is_file():
            check_kept(path, options, used, scan)
        else:
            reconstruct_to_file(scan, options, path, prior, device=self.device)
        return path


def check_persons(study: Study, reconstructions: Reconstructions) -> None:
    """Raise ReconError when the headers of the study's scans name different persons."""
    named = {c: reconstructions.scan(path).header.subject for c, path in study.files.items() if is_scan(path)}
    persons = sorted({person for person in named.values() if person})
    if len(persons) > 1:
        first = {person: next(c for c, p in named.items() if p == person) for person in persons}
        said = ", ".join(f"{contrast} {person}" for person, contrast in first.items())
        raise ReconError(
            f"study {study.name}: its scans are of several persons ({said}); put each in a study of its own"
        )


def b_value_of(study: Study, reconstructions: Reconstructions) -> float | None:
    """The b-value in s/mm^2 of the DWI that an ADC is calculated from: the table's, else its header's.

    None where no ADC is calculated. Raises ReconError when it is needed and not known."""
    if UNWEIGHTED not in study.files:
        return None
    stored = None
    if is_scan(study.files["DWI"]):
        stored = reconstructions.scan(study.files["DWI"]).header.b_value_s_per_mm2
    b_value = study.b_value or stored
    if not b_value:
        raise ReconError(
            f"study {study.name}: no b-value of its DWI is known, so no ADC follows from it and {UNWEIGHTED}; add a "
            "column b_value to the table"
        )
    return float(b_value)

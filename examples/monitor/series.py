"""Series of simulated scans with and without a planted change, reconstructed; what a watch sees of each, kept."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from recon.atomic import temporary_folder
from recon.monitoring.features import WatchedScan, read_watched
from recon.prior.store import Prior, load_prior, shipped_prior
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct_to_file
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample
from recon.simulate.builtin_head import builtin_sources
from recon.simulate.cohort import PositionedSubject, acquire, position_subject
from recon.simulate.measurement import SimulatedScan
from recon.simulate.options import SimulationOptions
from recon.simulate.scan_files import write_scan
from recon.simulate.sites import filtered

SETUP = SimulationOptions(
    size=(64, 64), coils=6, slices=1, snr=25.0, seed=31, site="site-a", field_of_view=230.0, thickness=5.0
)
RECONSTRUCTION = ReconstructionOptions(samples=2, steps=5)
Change = Callable[[SimulatedScan], SimulatedScan]


def _same(scan: SimulatedScan) -> SimulatedScan:
    return scan


def _kernel(detail: float) -> Change:
    """A raw filter in the data path: signal and noise are filtered, the noise scan is not."""
    return lambda scan: replace(scan, acquired=replace(scan.acquired, kspace=filtered(scan.acquired.kspace, detail)))


def _lost_coil(scan: SimulatedScan) -> SimulatedScan:
    """The coil with most signal delivers its noise alone."""
    kspace = scan.acquired.kspace.copy()
    lost = int((np.abs(kspace) ** 2).sum((0, 2, 3)).argmax())
    generator = np.random.default_rng(int(abs(kspace[0, 0, 0, 0]) * 1e6))
    sigma = np.sqrt(scan.acquired.noise_covariance[lost, lost].real / 2)
    draws = generator.standard_normal((2, *kspace[:, lost].shape))
    kspace[:, lost] = (sigma * (draws[0] + 1j * draws[1])).astype(np.complex64)
    return replace(scan, acquired=replace(scan.acquired, kspace=kspace))


def _called_flair(scan: SimulatedScan) -> SimulatedScan:
    """Another contrast under the old name: a protocol was edited."""
    sequence = replace(scan.contrast.sequence, contrast="FLAIR")
    return replace(scan, contrast=replace(scan.contrast, sequence=sequence))


# By name: what is done to a scan, the SNR over that before, the contrast that is measured.
CHANGES: dict[str, tuple[Change, float, str]] = {
    "none": (_same, 1.0, "FLAIR"),
    "SNR -20 %": (_same, 0.8, "FLAIR"),
    "SNR -5 %": (_same, 0.95, "FLAIR"),
    "low-pass kernel": (_kernel(0.6), 1.0, "FLAIR"),
    "faint low-pass kernel": (_kernel(0.95), 1.0, "FLAIR"),
    "sharpening kernel": (_kernel(1.4), 1.0, "FLAIR"),
    "a lost coil": (_lost_coil, 1.0, "FLAIR"),
    "another contrast": (_called_flair, 1.0, "T2"),
}


def series(changes: Sequence[str], persons: range, folder: Path) -> dict[str, list[WatchedScan]]:
    """What a watch sees of one scan of each person for each change, by its name. Kept in ``folder``: the same call goes
    on where it stopped."""
    prior, sources, known = load_prior(shipped_prior(), "cpu"), builtin_sources(), {}
    files = {change: folder / f"{change.replace(' ', '_').replace('%', 'percent')}.json" for change in changes}
    for change, kept in files.items():
        known[change] = {entry["name"]: entry for entry in json.loads(kept.read_text())} if kept.is_file() else {}
    for person in persons:
        name = f"person-{person:04d}"
        missing = [change for change in changes if name not in known[change]]
        if not missing:
            continue
        positioned = position_subject(sources[person % len(sources)], name, SETUP)
        for change in missing:
            known[change][name] = asdict(_scan(change, name, positioned, prior, folder))
        if (person + 1) % 5 == 0 or person == persons[-1]:
            for change in changes:
                files[change].write_text(json.dumps(list(known[change].values())))
    return {change: [WatchedScan(**known[change][f"person-{person:04d}"]) for person in persons] for change in changes}


def _scan(change: str, name: str, positioned: PositionedSubject, prior: Prior, folder: Path) -> WatchedScan:
    """One scan, measured with the change and reconstructed."""
    apply, snr, contrast = CHANGES[change]
    options = replace(SETUP, snr=SETUP.snr * snr)
    with temporary_folder(folder / "work") as work:
        full, fast, result = work / "full.h5", work / "fast.h5", work / f"{name}.h5"
        write_scan(full, positioned.subject, apply(acquire(positioned, contrast, options)))
        undersample(open_scan(full), fast, UndersamplingOptions(acceleration=2.0, calibration_lines=16))
        reconstruct_to_file(open_scan(fast), RECONSTRUCTION, result, prior)
        return read_watched(result)[0]

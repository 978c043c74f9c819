"""The manifest of a cohort: every scan with its person (``group``: split by it), its source and licence."""

import json
from pathlib import Path
from typing import Any

from recon.atomic import atomic_path
from recon.digest import listing_sha256
from recon.errors import ReconError
from recon.folders import entries
from recon.simulate.measurement import SimulatedScan
from recon.simulate.options import SimulationOptions
from recon.simulate.subject import Subject

MANIFEST = "manifest.json"
FORMAT = "recon-simulation-1"


def read_manifest(out: Path, options: SimulationOptions) -> dict[str, Any]:
    """The manifest of the cohort in ``out``, or one without scans for a new cohort.

    Raises ReconError when it cannot be read, or is that of a cohort of other options.
    """
    own, inputs = options.identity(), inputs_of(options)
    path = out / MANIFEST
    if not path.is_file():
        return {"format": FORMAT, "settings": own, "inputs": inputs, "scans": []}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        stored, scans = manifest["settings"], manifest["scans"]
        if manifest["format"] != FORMAT or not all(isinstance(scan["file"], str) for scan in scans):
            raise ValueError("not a simulation manifest")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReconError(f"{path}: not a readable manifest ({error}); choose another --out") from error
    if stored != own:
        different = sorted(key for key in {*own, *stored} if stored.get(key) != own.get(key))
        raise ReconError(
            f"{out}: holds a cohort simulated with other settings ({', '.join(different)} differ); choose another --out"
        )
    changed = sorted(name for name, digest in manifest.get("inputs", inputs).items() if inputs.get(name) != digest)
    if changed:
        raise ReconError(
            f"{out}: holds a cohort simulated from other files than {', '.join(changed)} as it is now; choose another "
            "--out"
        )
    return {**manifest, "inputs": inputs}


def inputs_of(options: SimulationOptions) -> dict[str, str]:
    """SHA-256 by name of every option that names files or folders: of their names and contents."""
    found = {}
    for name in ("anatomy", "lesion_shapes", "territories"):
        word = getattr(options, name)
        if word is not None:
            path = Path(word)
            files = [entry for entry in entries(path, deep=True) if entry.is_file()] if path.is_dir() else [path]
            found[name] = listing_sha256(file for file in files if file.is_file())
    return found


def is_kept(record: dict[str, Any] | None, path: Path) -> bool:
    """Whether a scan that an earlier run recorded is there, and as long as it was."""
    return record is not None and path.is_file() and record.get("bytes", path.stat().st_size) == path.stat().st_size


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest in ``out``, as a whole or not at all."""
    with atomic_path(out / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1, allow_nan=False), encoding="utf-8")


def scan_record(path: Path, subject: Subject, scan: SimulatedScan) -> dict[str, Any]:
    """What the manifest says of the scan that was written to ``path``."""
    lesion, origin = subject.lesion, subject.origin
    record = {
        "file": path.name,
        "bytes": path.stat().st_size,
        "subject": subject.name,
        "group": subject.group,
        "contrast": scan.contrast.sequence.contrast,
        "kind": origin.kind,
        "source": origin.source,
        "licence": origin.licence,
        "lesion_file": None if lesion is None else f"{subject.stem}_lesion.h5",
        "lesion_ml": 0.0 if lesion is None else round(lesion.volume, 3),
        "slices": int(subject.brain.shape[0]),
        "voxel_size_mm": [round(size, 4) for size in subject.voxel_size],
        "snr": scan.acquired.snr,
        "plane": subject.plane,
        "anatomy": origin.anatomy,
        "field_strength_t": subject.field_strength,
        "slice_thickness_mm": round(subject.thickness, 3),
        "mirrored": int(subject.mirrored),
        **scan.contrast.parameters(),
    }
    if lesion is not None:
        record |= {"lesion_kind": lesion.kind, "lesion_territory": lesion.territory, "lesion_stage": lesion.stage}
    return record

"""Time, memory and disk of the export of a reader study of three arms, on generated images.

    python examples/benchmarks/reader_study_export.py --cases 80 --folder out/export-benchmark

Writes ``--cases`` x 3 images of 24 x 320 x 320 voxels (ellipsoids and noise; float32 NIfTI, 9.8 MB each), exports the
study and prints one JSON line. Peak memory is that of the export's own process; two numbers of cases tell whether it is
flat.
"""

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path

import nibabel
import numpy as np
import yaml

from reader_study.export import export_study
from reader_study.study import freeze

SHAPE = (320, 320, 24)  # readout, phase, slice
ARMS = {"standard": 0.04, "posterior": 0.04, "wavelet": 0.04}  # noise; unequal, the air alone would tell the arms
PASSPHRASE = "generated images only"


def write_case(folder: Path, case: str, seed: int) -> None:
    """Generated images of one case in all arms."""
    generator = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, length, dtype=np.float32) for length in SHAPE), indexing="ij", sparse=True)
    head = (axes[0] / 0.8) ** 2 + (axes[1] / 0.9) ** 2 + 0 * axes[2] < 1
    clean = np.where(head, np.float32(0.6), np.float32(0.0))
    for _ in range(6):
        centre, radii = generator.uniform(-0.5, 0.5, 3), generator.uniform(0.1, 0.5, 3)
        inside = sum(((axis - at) / r) ** 2 for axis, at, r in zip(axes, centre, radii, strict=True)) < 1
        clean[np.asarray(inside)] += np.float32(generator.uniform(0.2, 0.6))
    for arm, noise in ARMS.items():
        image = clean + np.float32(noise) * generator.standard_normal(SHAPE, dtype=np.float32)
        path = folder / arm / f"{case}.nii"
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.abs(image), np.diag([0.7, 0.7, 5.0, 1.0])), path)


def protocol(cases: list[str]) -> dict[str, object]:
    """Three arms, three sessions, two readers."""
    roles = dict(zip(ARMS, ("reference", "new", "new"), strict=True))
    return {
        "title": "Benchmark of the export",
        "question": "How long does it take?",
        "mode": "independent",
        "arms": [{"name": arm, "role": roles[arm], "description": "generated"} for arm in ARMS],
        "comparisons": {"procedure": "holm"},
        "cases": {"all": cases},
        "readers": [{"id": name, "experience": "none"} for name in ("R1", "R2")],
        "sessions": {"count": 3},
        "items": [
            {"id": "overall", "question": "Overall", "direction": "higher-is-better", "anchors": {1: "bad", 2: "good"}}
        ],
        "primary": {
            "item": "overall",
            "hypothesis": "non-inferiority",
            "margin": 0.25,
            "margin_justification": "There are no readers, and this margin only fills a field.",
        },
    }


def export(study: Path, images: str, done: "multiprocessing.Queue[dict[str, float]]") -> None:
    """Export, and hand back seconds and peak memory of this process."""
    started = time.perf_counter()
    outcome = export_study(study, images, PASSPHRASE)
    assert outcome.passed, outcome
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds, processor = time.perf_counter() - started, time.process_time()
    done.put({"seconds": round(seconds, 1), "processor_seconds": round(processor, 1), "peak_memory_mib": round(peak)})


def main() -> None:
    """Generate, export, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=80)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    names = [f"C{number:03d}" for number in range(1, given.cases + 1)]
    given.folder.mkdir(parents=True)
    for number, case in enumerate(names):
        write_case(given.folder / "images", case, number)
    plan = given.folder / "protocol.yaml"
    plan.write_text(yaml.safe_dump(protocol(names), sort_keys=False), encoding="utf-8")
    study, _ = freeze(plan, given.folder / "study")
    context = multiprocessing.get_context("spawn")
    done: multiprocessing.Queue[dict[str, float]] = context.Queue()
    process = context.Process(target=export, args=(study.folder, str(given.folder / "images/{arm}/{case}.nii"), done))
    process.start()
    process.join()
    counted = {path.stat().st_ino: path.stat().st_size for path in study.folder.rglob("*") if path.is_file()}
    size = sum(counted.values()) / 2**20
    print(json.dumps({"cases": given.cases, "arms": len(ARMS), **done.get(timeout=5), "study_mib": round(size)}))


if __name__ == "__main__":
    main()

"""Small reader studies for the tests: a protocol, images of both arms, an exported study folder."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import yaml

from reader_study.handed_out import exported
from reader_study.seal import Key, open_key
from reader_study.study import KEY, open_study

PASSPHRASE = "four words of test"


def key_of(folder: Path) -> Key:
    """The opened key of an exported study."""
    line = exported(open_study(folder).entries).details
    return open_key(folder / KEY, PASSPHRASE, line["sealed_key_sha256"], line["commitment"])


def protocol_mapping(
    cases: int | dict[str, list[str]] = 6, mode: str = "independent", **changes: Any
) -> dict[str, Any]:
    """A valid protocol as a mapping; ``changes`` replace top-level keys."""
    preference = mode == "preference"
    direction = "preferred-is-better" if preference else "higher-is-better"
    anchors = {} if preference else {1: "non-diagnostic", 2: "poor", 3: "acceptable", 4: "good", 5: "excellent"}
    noise = {
        "id": "noise",
        "question": "Noise",
        "direction": direction if preference else "lower-is-better",
        "anchors": {} if preference else {1: "none", 2: "little", 3: "strong"},
        "required": False,
    }
    mapping = {
        "title": "Test study",
        "question": "Is the new arm non-inferior?",
        "mode": mode,
        "arms": [
            {"name": "soc", "role": "reference", "description": "standard of care"},
            {"name": "dm", "role": "new", "description": "diffusion model"},
        ],
        "cases": {"main": [f"C{index:03d}" for index in range(1, cases + 1)]} if isinstance(cases, int) else cases,
        "training_cases": ["T1"],
        "readers": [{"id": "R1", "experience": "10 years"}, {"id": "R2", "experience": "3 years"}],
        "items": [
            {"id": "overall", "question": "Overall quality", "direction": direction, "anchors": anchors},
            noise,
        ],
        "primary": {
            "item": "overall",
            "hypothesis": "non-inferiority",
            "margin": 0.5 if not preference else 0.2,
            "margin_justification": "Half a point is less than one anchor apart.",
        },
        "sessions": {"count": 1, "separation": 1},
        "guess": {"presentations": 2},
    }
    return {**mapping, **changes}


def write_protocol(path: Path, **arguments: Any) -> Path:
    """Write ``protocol_mapping`` as YAML."""
    path.write_text(yaml.safe_dump(protocol_mapping(**arguments), sort_keys=False), encoding="utf-8")
    return path


def write_images(
    folder: Path,
    cases: list[str],
    shape: tuple[int, int, int] = (2, 12, 10),
    seed: int = 0,
    arms: tuple[str, ...] = ("soc", "dm"),
) -> str:
    """NIfTI files of all arms, axial, [readout, phase, slice]; gives the pattern for ``--images``."""
    rng = np.random.default_rng(seed)
    affine = np.diag([-0.9, -0.9, 5.0, 1.0])
    for case in cases:
        anatomy = rng.uniform(20, 100, (shape[1], shape[2], shape[0])).astype(np.float32)
        for arm in arms:
            noisy = anatomy + rng.normal(0, 3, anatomy.shape).astype(np.float32)
            (folder / arm).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(noisy, affine), folder / arm / f"{case}.nii")
    return str(folder / "{arm}" / "{case}.nii")


def make_study(folder: Path, **arguments: Any) -> tuple[Path, str]:
    """Freeze a protocol and write its images; gives the study folder and the pattern of its images."""
    from reader_study.study import freeze

    shape = arguments.pop("shape", (2, 12, 10))
    folder.mkdir(parents=True, exist_ok=True)
    study, _ = freeze(write_protocol(folder / "plan.yaml", **arguments), folder / "study")
    cases = [*study.protocol.case_ids, *study.protocol.training_cases]
    return study.folder, write_images(folder / "images", cases, shape)


def export_small(folder: Path, **arguments: Any) -> Path:
    """A whole exported study; gives its folder."""
    from reader_study.export import export_study

    seed = arguments.pop("seed", None)
    study, images = make_study(folder, **arguments)
    outcome = export_study(study, images, PASSPHRASE, seed=seed, work_factor=2**4)
    assert outcome.passed, outcome
    return study

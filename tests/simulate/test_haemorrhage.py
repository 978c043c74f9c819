"""Haemorrhage: signal by age, loss at gradient echoes, the field about blood, and what is written of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recon.errors import ReconError
from recon.seeding import numpy_generator
from recon.simulate.builtin_head import builtin_anatomy
from recon.simulate.haemorrhage import BLOOD, blood
from recon.simulate.imaging import contrast_image
from recon.simulate.measurement import complex_image, draw_coils
from recon.simulate.options import SimulationOptions
from recon.simulate.pulse_sequence import NOMINAL, PulseSequence, signal
from recon.simulate.subject import Subject, simulate_subject
from recon.simulate.susceptibility import echo_factor, field_shift
from recon.simulate.tissues import TISSUE_TABLE, Tissue

OPTIONS = SimulationOptions(
    size=(96, 96), slices=6, stroke=True, stroke_kind="haemorrhage", stage="acute", territory="MCA"
)


@pytest.fixture(scope="module")
def person() -> Subject:
    return simulate_subject(builtin_anatomy(), "someone", OPTIONS, numpy_generator(4, "test"))


def test_t2star_by_hand() -> None:
    # Ernst angle as for the gradient echo; TE/T2 = 1/2 and TE R2' = 1/4: 0.8 x 0.57735 x e^-0.75
    tissue = Tissue(t1=1000.0, t2=100.0, density=0.8, diffusivity=0.7, dephasing=0.005)
    sequence = PulseSequence("T2STAR", "t2star", 1000 * np.log(2), 50, flip_angle=60)
    assert signal(tissue, sequence) == pytest.approx(0.8 * 0.57735027 * 0.47236655)
    assert signal(tissue, replace(sequence, kind="gradient-echo")) == pytest.approx(0.8 * 0.57735027 * 0.60653066)


@pytest.mark.parametrize("field_strength", [1.5, 3.0])
def test_t2star_of_tissues_is_what_was_measured(field_strength: float) -> None:
    """Peters et al. 2007: cortex 84 and 66 ms, white matter 66.2 and 53.2 ms at 1.5 and 3 T."""
    found = {n: 1 / (1 / t.t2 + t.dephasing) for n, t in TISSUE_TABLE[field_strength].items()}
    grey, white = (84.0, 66.2) if field_strength == 1.5 else (66.0, 53.2)
    assert found["grey"] == pytest.approx(grey, rel=0.02)
    assert found["white"] == pytest.approx(white, rel=0.02)


@pytest.mark.parametrize("field_strength", [1.5, 3.0])
@pytest.mark.parametrize("stage", list(BLOOD))
def test_blood_is_bright_and_dark_as_its_age_says(stage: str, field_strength: float) -> None:
    tissues = TISSUE_TABLE[field_strength]
    for seed in range(5):
        changed, susceptibility = blood(tissues, stage, field_strength, np.random.default_rng(seed))
        assert 0 < susceptibility <= 1.2
        ratio = {c: signal(changed["grey"], NOMINAL[c]) / signal(tissues["grey"], NOMINAL[c]) for c in NOMINAL}
        if stage == "subacute":
            assert ratio["T1"] > 1.3  # free methaemoglobin
            assert ratio["T2"] > 1.0
        else:
            assert ratio["T2"] < 0.85
            assert ratio["T2STAR"] < 0.75
            assert 0.7 < ratio["T1"] < 1.05
        assert changed["white"] == changed["grey"] == changed["deep_grey"]
        assert changed["csf"] == tissues["csf"]
    with pytest.raises(ReconError, match="stage"):
        blood(tissues, "old", field_strength, np.random.default_rng(0))


@pytest.mark.parametrize("along", [0, 1])
def test_the_field_about_a_sphere_is_that_of_the_textbook(along: int) -> None:
    """Outside chi/3 (a/r)^3 (3 cos^2 - 1), inside none (with the sphere of Lorentz)."""
    spacing = (2.5, 2.0, 2.0)
    grids = [(np.arange(n) - n // 2) * s for n, s in zip((64, 80, 80), spacing, strict=True)]
    distance = np.sqrt(sum(g**2 for g in np.meshgrid(*grids, indexing="ij")))
    shift = field_shift(np.clip((14 - distance) / 2 + 0.5, 0, 1), spacing, along)
    middle = [32, 40, 40]
    assert shift[tuple(middle)] == pytest.approx(0, abs=0.01)
    for axis in range(3):
        place = middle.copy()
        place[axis] += round(20 / spacing[axis])
        expected = (14 / 20) ** 3 / 3 * (2 if axis == along else -1)
        assert shift[tuple(place)] == pytest.approx(expected, rel=0.12)


def test_blood_is_dark_and_blooms_at_a_gradient_echo_and_more_so_at_a_later_one(person: Subject) -> None:
    assert person.lesion is not None
    assert person.fractions is not None
    nominal = NOMINAL["T2STAR"]
    images = {
        name: contrast_image(person, "T2STAR", np.random.default_rng(0), sequence).magnitude
        for name, sequence in (("usual", nominal), ("later", replace(nominal, echo_time=35.0)))
    }
    without = contrast_image(replace(person, lesion=None), "T2STAR", np.random.default_rng(0), nominal).magnitude
    inside = person.lesion.core > 0.9
    assert images["usual"][inside].mean() < 0.5 * without[inside].mean()
    assert images["later"][inside].mean() < 0.6 * images["usual"][inside].mean()
    soon, late = (echo_factor(person, time) for time in (15.0, 30.0))
    assert soon is not None
    assert late is not None
    beside = (person.lesion.core < 0.01) & person.brain
    darker = [((np.abs(factor) < 0.98) & beside).sum() for factor in (soon, late)]
    assert darker[0] < darker[1]  # where no blood is: it blooms
    assert darker[1] > 10
    assert np.abs(np.angle(soon[beside])).max() > 0.5  # and has its phase
    assert echo_factor(replace(person, susceptibility=0.0), 15.0) is None


def test_only_gradient_echoes_feel_the_field(person: Subject) -> None:
    array = draw_coils(person, 4, np.random.default_rng(1))
    plain = replace(person, susceptibility=0.0)
    for contrast, felt in (("T2STAR", True), ("T2", False), ("FLAIR", False)):
        both = [
            complex_image(one, contrast, array, np.random.default_rng(2), NOMINAL[contrast])[0]
            for one in (person, plain)
        ]
        assert np.array_equal(*both) != felt


def test_a_cohort_says_what_its_strokes_are(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    words = ("simulate", "--size", "48,44", "--coils", 3, "--slices", 3, "--seed", 2, "--contrast", "T2STAR")
    made = run_cli(*words, "--out", tmp_path, "--stroke", "--stroke-kind", "haemorrhage", "--json")
    assert made.code == 0, made.err
    (record,) = made.json["scans"]
    assert (record["contrast"], record["sequence"], record["lesion_kind"]) == ("T2STAR", "t2star", "haemorrhage")
    assert 15 < record["te_ms"] < 25
    with h5py.File(tmp_path / record["lesion_file"]) as file:
        assert file.attrs["kind"] == "haemorrhage"
    refused = run_cli(*words, "--out", tmp_path / "other", "--stroke-kind", "haemorrhage")
    assert (refused.code, "add --stroke" in refused.err) == (2, True)
    infarcts = run_cli(*words, "--out", tmp_path, "--stroke")
    assert (infarcts.code, "other settings (stroke_kind differ)" in infarcts.err) == (2, True)

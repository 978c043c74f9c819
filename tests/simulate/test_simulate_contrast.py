"""Signal equations against values worked out by hand, and the ordering of tissues that radiologists know."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.errors import ReconError
from recon.simulate.lesions import lesion_tissues
from recon.simulate.options import STAGES
from recon.simulate.pulse_sequence import (
    CONTRASTS,
    NOMINAL,
    PulseSequence,
    draw_sequence,
    nulling_time,
    signal,
    tissue_signals,
)
from recon.simulate.tissues import TISSUE_TABLE, Tissue, draw_tissues

TISSUE = Tissue(t1=1000.0, t2=100.0, density=0.8, diffusivity=0.7)


def test_spin_echo_by_hand():
    # 0.8 (1 - e^-1) e^-0.5
    assert signal(TISSUE, PulseSequence("T2", "spin-echo", 1000, 50)) == pytest.approx(0.8 * 0.63212056 * 0.60653066)


def test_gradient_echo_by_hand():
    # Ernst angle for TR = T1 ln 2 is 60 degrees: E1 = 1/2, sin 60 (1/2) / (1 - 1/4) = 0.57735
    sequence = PulseSequence("T1", "gradient-echo", 1000 * np.log(2), 0, flip_angle=60)
    assert signal(TISSUE, sequence) == pytest.approx(0.8 * 0.57735027)


def test_mprage_by_hand():
    # TI = T1 ln 2, TR very long: 1 - 2 (1/2) / 1 = 0; TR = T1 ln 2 as well: 1 - 1 / (3/2) = 1/3
    half = 1000 * np.log(2)
    assert signal(TISSUE, PulseSequence("T1", "mprage", 1e9, 0, inversion_time=half)) == pytest.approx(0, abs=1e-12)
    assert signal(TISSUE, PulseSequence("T1", "mprage", half, 0, inversion_time=half)) == pytest.approx(0.8 / 3)


def test_diffusion_by_hand():
    # b D = 1000 x 0.7e-3 = 0.7
    sequence = PulseSequence("DWI", "diffusion", 1e9, 0, b_value=1000)
    assert signal(TISSUE, sequence) == pytest.approx(0.8 * 0.49658530)


def test_unknown_kind_is_refused():
    with pytest.raises(ReconError, match="unknown"):
        signal(TISSUE, PulseSequence("T2", "echo-planar", 1000, 50))


@given(t1=st.floats(200, 5000), repetition=st.floats(500, 15000))
def test_nulling_time_nulls(t1: float, repetition: float):
    tissue = Tissue(t1, 2000, 1.0, 3.0)
    sequence = PulseSequence("FLAIR", "inversion", repetition, 100, inversion_time=nulling_time(t1, repetition))
    assert abs(signal(tissue, sequence)) < 1e-9


@pytest.mark.parametrize("field_strength", [1.5, 3.0])
def test_tissues_are_ordered_as_on_every_scan(field_strength: float):
    tissues = TISSUE_TABLE[field_strength]
    value = {c: {n: abs(signal(t, NOMINAL[c])) for n, t in tissues.items()} for c in CONTRASTS}
    assert value["T1"]["fat"] > value["T1"]["white"] > value["T1"]["grey"] > 1.5 * value["T1"]["csf"]
    assert value["T2"]["csf"] > 1.5 * value["T2"]["grey"] > 1.5 * value["T2"]["white"]
    assert value["PD"]["csf"] > 0
    assert value["PD"]["grey"] > value["PD"]["white"]
    assert value["FLAIR"]["grey"] > value["FLAIR"]["white"] > 5 * value["FLAIR"]["csf"]
    assert value["DWI"]["grey"] > value["DWI"]["white"] > value["DWI"]["csf"] * 0.9


@pytest.mark.parametrize("seed", range(20))
def test_every_drawn_flair_is_dark_in_csf(seed: int):
    generator = np.random.default_rng(seed)
    tissues = draw_tissues(float(generator.choice([1.5, 3.0])), generator)
    csf, grey, white, *_ = np.abs(tissue_signals(tissues, draw_sequence("FLAIR", generator)))
    assert csf < 0.35 * min(grey, white)


@pytest.mark.parametrize("stage", STAGES)
def test_lesions_change_signal_as_their_age_says(stage: str):
    generator = np.random.default_rng(3)
    healthy = draw_tissues(3.0, generator)
    changed = lesion_tissues(healthy, stage, generator)
    white = {c: signal(changed["white"], NOMINAL[c]) / signal(healthy["white"], NOMINAL[c]) for c in CONTRASTS}
    assert white["FLAIR"] > 1.1
    assert white["T2"] > 1.1
    assert white["T1"] < 1.0
    if stage == "acute":
        assert white["DWI"] > 1.4
        assert changed["white"].diffusivity < 0.7 * healthy["white"].diffusivity
    assert changed["csf"] == healthy["csf"]
    assert changed["fat"] == healthy["fat"]


def test_unknown_names_are_refused():
    generator = np.random.default_rng(0)
    with pytest.raises(ReconError, match="cannot be simulated"):
        draw_sequence("T3", generator)
    with pytest.raises(ReconError, match="field strength"):
        draw_tissues(7.0, generator)
    with pytest.raises(ReconError, match="stage"):
        lesion_tissues(TISSUE_TABLE[3.0], "old", generator)

"""One spelling for a contrast, whatever scanners and people call it."""

import pytest

from recon.contrast_names import canonical_contrast, contrast_of_protocol


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("t2", "T2"), ("T2w", "T2"), (" T2-weighted ", "T2"), ("flair", "FLAIR"), ("T2-FLAIR", "FLAIR"),
        ("Dwi", "DWI"), ("dwi_b0", "DWI-B0"), ("T1+C", "T1POST"), ("t1ce", "T1POST"), ("T2*", "T2STAR"),
        ("Unknown", "unknown"), ("pd", "PD"), ("SWI-mag", "SWI-mag"), ("asl", "asl"),
    ],
)  # fmt: skip
def test_people_spell_contrasts_in_many_ways(said, meant):
    assert canonical_contrast(said) == meant
    assert canonical_contrast(meant) == meant


@pytest.mark.parametrize(
    ("protocol", "contrast"),
    [
        ("t2_tse_tra", "T2"), ("T2W_TSE", "T2"), ("AX T1W SE", "T1"), ("t1_se_post", "T1POST"), ("T1CE_tra", "T1POST"),
        ("t2_tirm_tra_dark-fluid", "FLAIR"), ("Ax T2 FLAIR", "FLAIR"),
        ("Sag T1 FLAIR", "T1"), ("t2_fl2d_hemo", "T2STAR"),
        ("T2* GRE", "T2STAR"), ("pdw_tse", "PD"), ("T2_star_axial", "T2STAR"),
        ("dwi_tra", "DWI"), ("localizer", "unknown"),
        ("t1_t2_mixed", "unknown"), ("PD_T2_dual", "unknown"),
    ],
)  # fmt: skip
def test_the_contrast_that_a_protocol_states(protocol, contrast):
    assert contrast_of_protocol(protocol) == contrast

"""Which files of a folder are scans."""

from pathlib import Path

import pytest

from recon.errors import ReconError
from recon.scans.finding import find_scans


def test_folders_give_their_scans_in_order_and_files_stay_as_they_are(tmp_path: Path) -> None:
    masks = ("b_lesion.h5", "b_mask.h5")  # as 'recon simulate' and 'recon vessels simulate' write them
    for name in ("b.h5", "a.cfl", "a.hdr", *masks, "other_mask.h5", "manifest.json", ".c.h5.abcd_123.h5"):
        (tmp_path / name).touch()
    found = [Path("x.h5"), *(tmp_path / name for name in ("a.cfl", "b.h5", "other_mask.h5"))]
    assert find_scans(["x.h5", tmp_path]) == found


def test_a_folder_without_scans_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReconError, match=f"{tmp_path}: no .h5 or .dat or .cfl scans"):
        find_scans([tmp_path])

"""Headers that hypothesis makes up: each is refused in one line that names the file, or means what it says."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.configuration import load_config
from recon.errors import ReconError
from recon.foreign.json_file import read_json
from recon.images.nifti import read_nifti, write_nifti
from recon.reconstruction.options import ReconstructionOptions
from recon.scans.bart import read_dimensions

FIELDS = [field.name for field in dataclasses.fields(ReconstructionOptions)]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
few = settings(max_examples=30, deadline=None, derandomize=True)  # the same each time, as the mutants are


def accepted(read: Callable[[], Any], path: Path) -> Any:
    """What is read; None when it is refused, in one line that names the file."""
    try:
        return read()
    except ReconError as refusal:
        error = refusal
    assert str(path) in str(error)
    assert "\n" not in str(error)
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generated")


@few
@given(values=st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), VALUES, max_size=4))
def test_configurations_are_refused_or_mean_what_they_say(values: dict[str, Any], folder: Path) -> None:
    path = folder / "made.yaml"
    path.write_text(yaml.safe_dump(values), "utf-8", errors="surrogatepass")
    options = accepted(lambda: load_config(ReconstructionOptions, path), path)
    if options is None:
        return
    for name, value in values.items():
        assert getattr(options, name) == value
    path.write_text(yaml.safe_dump(vars(options)), "utf-8")
    assert load_config(ReconstructionOptions, path) == options


@few
@given(values=VALUES | st.binary(max_size=50))
def test_json_is_refused_or_read_as_it_is(values: Any, folder: Path) -> None:
    path = folder / "made.json"
    path.write_bytes(values if isinstance(values, bytes) else json.dumps(values, default=str).encode())
    found = accepted(lambda: read_json(path), path)
    if found is not None:
        assert isinstance(found, dict)
        assert repr(found) == repr(json.loads(path.read_bytes()))  # NaN does not equal itself


@few
@given(dims=st.lists(st.integers(-2, 6) | st.integers() | st.text(max_size=4), max_size=18), size=st.integers(0, 64))
def test_bart_headers_are_refused_or_fit_the_data(dims: list[Any], size: int, folder: Path) -> None:
    header, data = folder / "made.hdr", folder / "made.cfl"
    header.write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n", "utf-8", errors="replace")
    data.write_bytes(bytes(8 * size))
    found = accepted(lambda: read_dimensions(data, header), folder / "made")
    if found is not None:
        assert all(entry > 0 for entry in found)
        assert np.prod(found, dtype=object) == size


@few
@given(place=st.integers(0, 347), values=st.binary(min_size=1, max_size=8))
def test_nifti_headers_are_refused_or_place_voxels(place: int, values: bytes, folder: Path) -> None:
    path = folder / "made.nii"
    write_nifti(path, np.ones((2, 4, 5), np.float32), affine=np.diag([2.0, 3, 4, 1]))
    stored = path.read_bytes()
    path.write_bytes(stored[:place] + values + stored[place + len(values) :])
    found = accepted(lambda: read_nifti(path), path)
    if found is not None and found.affine is not None:
        assert np.isfinite(found.affine).all()
        assert abs(np.linalg.det(found.affine[:3, :3])) > 0

"""Result files: what is written is read back; unfinished, diverged or damaged ones never pass for results."""

import h5py
import numpy as np
import pytest

from recon.errors import ReconError
from recon.images.result import ResultHeader, read_result, write_result

AFFINE = np.diag([0.7, 0.8, 5, 1.0])


def write(path, put=None, slices=2, **changes):
    options = {
        "slices": slices,
        "shape": (6, 5),
        "contrast": "FLAIR",
        "voxel_size": (0.7, 0.8, 5.0),
        "affine": AFFINE,
        "configuration": {"steps": 20, "nested": {"a": [1, 2]}},
        "attributes": {"method": "posterior", "seed": 3, "acceleration": 2.5},
        **changes,
    }
    with write_result(path, ResultHeader(**options)) as writer:
        for index in range(slices):
            if put is None:
                images = {
                    name: np.full((6, 5), index + 1, np.float32) for name in ("reconstruction", "std", "zero_filled")
                }
                writer.put(index, **images, samples=np.full((3, 6, 5), 1j * index, np.complex64))
            else:
                put(writer, index)
        writer.close_with({"chi2": 1.01})
    return path


def test_read_back_as_written(tmp_path):
    found = read_result(write(tmp_path / "a.h5"))
    assert found.reconstruction.shape == found.std.shape == found.zero_filled.shape == (2, 6, 5)
    assert found.reconstruction.dtype == np.float32
    assert (found.reconstruction[1] == 2).all()
    assert found.samples.shape == (2, 3, 6, 5)
    assert found.samples.dtype == np.complex64
    assert (found.samples[1] == 1j).all()
    assert found.contrast == "FLAIR"
    assert found.voxel_size == (0.7, 0.8, 5.0)
    np.testing.assert_array_equal(found.affine, AFFINE)
    assert found.configuration == {"steps": 20, "nested": {"a": [1, 2]}}
    assert found.attributes == {"method": "posterior", "seed": 3, "acceleration": 2.5}
    assert found.audit == {"chi2": 1.01}


def test_what_is_unknown_stays_unknown(tmp_path):
    def put(writer, index):
        writer.put(index, reconstruction=np.ones((6, 5), np.float32))

    found = read_result(write(tmp_path / "a.h5", put, voxel_size=None, affine=None))
    assert found.std is found.samples is found.zero_filled is found.voxel_size is found.affine is None


def test_slices_may_come_in_any_order(tmp_path):
    def put(writer, index):
        writer.put(1 - index, reconstruction=np.full((6, 5), 1 - index))

    assert read_result(write(tmp_path / "a.h5", put)).reconstruction[:, 0, 0].tolist() == [0, 1]


def _nan(writer, index):
    writer.put(index, reconstruction=np.full((6, 5), np.nan))


def _nothing(writer, index):
    pass


def _missing_slice(writer, index):
    if index == 0:
        writer.put(index, reconstruction=np.ones((6, 5)))


def _missing_std(writer, index):
    writer.put(index, reconstruction=np.ones((6, 5)), **({"std": np.ones((6, 5))} if index else {}))


def _wrong_shape(writer, index):
    writer.put(index, reconstruction=np.ones((6, 4)))


def _no_such_slice(writer, index):
    writer.put(index + 5, reconstruction=np.ones((6, 5)))


@pytest.mark.parametrize(
    ("put", "words"),
    [
        (_nan, "slice 0: reconstruction has NaN"),
        (_nothing, "nothing was reconstructed"),
        (_missing_slice, "slice 1 of reconstruction was not written"),
        (_missing_std, "slice 0 of std was not written"),
        (_wrong_shape, r"reconstruction is \(6, 4\)"),
        (_no_such_slice, "no slice 5"),
    ],
)
def test_an_unfinished_or_diverged_result_never_becomes_a_file(tmp_path, put, words):
    with pytest.raises(ReconError, match=words):
        write(tmp_path / "a.h5", put)
    assert list(tmp_path.iterdir()) == []


def test_damaged_foreign_and_missing_files(tmp_path):
    whole = write(tmp_path / "a.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5").write_text("hello")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["kspace"] = np.zeros(3)
    write(tmp_path / "bare.h5")
    with h5py.File(tmp_path / "bare.h5", "a") as file:
        del file["reconstruction"]
    for name, words in {
        "cut": "truncated or damaged",
        "text": "truncated or damaged",
        "foreign": "not a result",
        "bare": "'reconstruction' is missing",
        "none": "no such file",
    }.items():
        with pytest.raises(ReconError, match=words) as caught:
            read_result(tmp_path / f"{name}.h5")
        assert f"{name}.h5" in str(caught.value)

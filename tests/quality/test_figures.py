"""Figures show what they claim: pixels of the file, not only that a file appears."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from recon.errors import ReconError
from recon.images.result import ResultHeader, read_result, write_result
from recon.quality.drawing import save, zoom_on
from recon.quality.figures import benchmark, panel, slice_to_show
from recon.quality.orientation import upright
from recon.quality.panels import panel_of_result

SHAPE = (60, 44)
AXIAL = np.array([[0.0, -0.9, 0, 0], [0.8, 0, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]])  # readout: front, phase: left


def slices() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    reference = 100.0 * ((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1)
    lesion = np.hypot(y - 0.3, x + 0.2) < 0.15
    reference[lesion] = 160
    image = np.abs(reference + 6 * generator.normal(size=SHAPE))
    return reference, image, 6 + generator.random(SHAPE), lesion


def texts(figure) -> str:
    return " | ".join(text.get_text() for text in [*figure.texts, *(t for axes in figure.axes for t in axes.texts)])


def test_panel_has_every_image_in_one_window_with_errors_metrics_and_bars(tmp_path):
    reference, image, std, lesion = slices()
    images = {"zero-filled": 0.8 * image, "CG-SENSE": image, "posterior mean": (image + reference) / 2}
    figure = panel(images, std=std, reference=reference, lesion=lesion, affine=AXIAL, title="FLAIR, R = 4")
    words = texts(figure)
    for expected in ("FLAIR, R = 4", "reference", *images, "posterior std", "error × 5", "NRMSE", "5 cm"):
        assert expected in words
    assert words.count("NRMSE") == 3
    drawn = [axes.images[0] for axes in figure.axes if axes.images]
    full = [one for one in drawn if one.get_array().shape == SHAPE]
    grey = [one.get_clim() for one in full if one.get_cmap().name == "gray"]
    errors = [one for one in full if one.get_cmap().name == "inferno"]
    assert len(grey) == 4
    assert len(set(grey)) == 1
    assert len(errors) == 3
    assert errors[0].get_clim()[1] == pytest.approx(grey[0][1] / 5)
    np.testing.assert_allclose(errors[1].get_array(), upright(np.abs(image - reference), AXIAL)[0])
    insets = [one for one in drawn if one.get_array().shape != SHAPE and one.get_cmap().name == "gray"]
    assert len(insets) == 4
    save(figure, tmp_path / "panel.png")
    pixels = imread(tmp_path / "panel.png")
    assert pixels.shape[0] > 800
    assert pixels[0, 0, :3].max() < 0.1  # dark page
    assert pixels[..., :3].max() == 1


@pytest.mark.parametrize("shape", [(60, 44), (30, 96), (17, 17)])
def test_panels_keep_the_proportions_of_the_head(shape):
    image = np.random.default_rng(0).random(shape)
    figure = panel({"mean": image}, voxel_size=(2.0, 1.0, 3.0), std=image)
    width, height = figure.get_size_inches()
    box = next(axes for axes in figure.axes if axes.images).get_position()
    assert (box.height * height) / (box.width * width) == pytest.approx(2 * shape[0] / shape[1])
    assert all(0 <= edge <= 1 for axes in figure.axes for edge in axes.get_position().extents)


def test_benchmark_figure(tmp_path):
    reference, image, _, lesion = slices()
    rows = {rate: {"CG-SENSE": image, "posterior mean": (image + rate * reference) / (1 + rate)} for rate in (2.0, 4.0)}
    figure = benchmark(rows, reference, lesion=lesion, voxel_size=(1, 1, 5), title="stroke")
    words = texts(figure)
    assert all(expected in words for expected in ("R = 2", "R = 4", "CG-SENSE", "posterior mean", "reference"))
    assert words.count("NRMSE") == 4
    save(figure, tmp_path / "benchmark.png")
    assert (tmp_path / "benchmark.png").stat().st_size > 10_000
    with pytest.raises(ReconError, match="same methods"):
        benchmark({2.0: {"a": image}, 4.0: {"b": image}}, reference)


def test_slices_are_turned_upright():
    image = np.zeros((4, 6))
    image[3, 5] = 1  # with AXIAL: the most anterior row, the leftmost column of the patient
    turned, pixel_mm = upright(image, AXIAL)
    assert turned[0, 5] == 1  # anterior at the top, the patient's left on the right
    assert pixel_mm == pytest.approx((0.8, 0.9))
    swapped, pixel_mm = upright(image.T, AXIAL[:, [1, 0, 2, 3]])
    np.testing.assert_array_equal(swapped, turned)
    assert pixel_mm == pytest.approx((0.8, 0.9))
    coronal = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # first axis right, second up
    assert upright(image, coronal)[0].shape == (6, 4)
    assert upright(image, coronal)[0][0, 0] == 1  # head at the top, the patient's right on the left
    np.testing.assert_array_equal(upright(image, None)[0], image)


def test_inset_leaves_the_lesion_free_and_follows_the_largest():
    reference, _, _, lesion = slices()
    lesion[2, 2] = True
    zoom = zoom_on(lesion, reference)
    assert zoom.cut(lesion).sum() == lesion.sum() - 1
    rows, columns = np.nonzero(zoom.cut(np.ones(SHAPE)))
    assert len(rows) == len(columns) == zoom.size**2


def test_slice_with_the_most_lesion_or_in_the_middle():
    volume = np.ones((5, 8, 8))
    volume[3:] = 0
    assert slice_to_show(volume) == 2
    lesion = np.zeros((5, 8, 8), bool)
    lesion[1, :2], lesion[0, :1] = True, True
    assert slice_to_show(volume, lesion) == 1


def test_panel_of_a_result_file(tmp_path):
    reference, image, std, lesion = slices()
    with write_result(
        tmp_path / "r.h5",
        ResultHeader(
            slices=2,
            shape=SHAPE,
            contrast="FLAIR",
            voxel_size=(0.8, 0.9, 5.0),
            affine=AXIAL,
            configuration={},
            attributes={"method": "posterior", "title": "posterior mean", "acceleration": 3.2},
        ),
    ) as writer:
        for index in range(2):
            writer.put(index, reconstruction=image, std=std, zero_filled=0.7 * image)
    result = read_result(tmp_path / "r.h5")
    volume = np.stack([reference, reference])
    mask = np.stack([np.zeros_like(lesion), lesion])
    words = texts(panel_of_result(result, baselines={"CG-SENSE": volume}, reference=volume, lesion=mask))
    assert "FLAIR, R = 3.2, slice 2 of 2" in words
    order = [words.index(name) for name in ("reference", "zero-filled", "CG-SENSE", "posterior mean")]
    assert order == sorted(order)
    assert "NRMSE" not in texts(panel_of_result(result))
    with pytest.raises(ReconError, match="no slice 2"):
        panel_of_result(result, index=2)
    with pytest.raises(ReconError, match="same grid"):
        panel_of_result(result, reference=volume[:, 1:])


def test_what_cannot_be_drawn():
    reference, image, _, _ = slices()
    with pytest.raises(ReconError, match="NaN"):
        panel({"mean": np.full(SHAPE, np.nan)})
    with pytest.raises(ReconError, match="expected one slice"):
        panel({"mean": image}, reference=reference[1:])
    with pytest.raises(ReconError, match="empty"):
        panel({"mean": np.zeros(SHAPE)})
    with pytest.raises(ReconError, match="no image"):
        panel({})


def test_no_global_plotting_state_is_touched():
    code = "import sys, recon.quality.figures; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

"""ESPIRiT maps against the implementations that the field uses."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from test_acquisition import head_kspace
from torch import Tensor

from recon.acquisition import espirit, sense
from recon.acquisition.espirit import EspiritOptions, espirit_maps
from recon.acquisition.fourier import centre_slice, waves
from recon.errors import ReconError
from recon.posterior.iterative import conjugate_gradients
from recon.scans.bart import write_bart


def centre(kspace: Tensor, lines: int = 24) -> Tensor:
    return kspace[..., centre_slice(kspace.shape[-2], lines), centre_slice(kspace.shape[-1], lines)]


def disagreement(ours: Tensor, theirs: Tensor) -> float:
    """The largest norm in any pixel of the part of ``theirs [coil, readout, phase]`` orthogonal to ours over that of
    theirs, where both have a map: 0 when they agree up to a phase in each pixel."""
    both = (ours.abs().sum(0) > 0) & (theirs.abs().sum(0) > 0)
    inner = torch.nn.functional.avg_pool2d(both.float()[None, None], 5, 1, 2)[0, 0] > 0.999  # inside, not at the rim
    one, other = ours[:, inner], theirs[:, inner]
    one, other = one / one.norm(dim=0), other / other.norm(dim=0)
    assert int(inner.sum()) > 500
    return float((other - one * (one.conj() * other).sum(0)).norm(dim=0).max())


def by_sigpy(kspace: Tensor, lines: int = 24) -> Tensor:
    from sigpy.mri.app import EspiritCalib

    maps = EspiritCalib(kspace.numpy(), calib_width=lines, crop=0.95, thresh=0.02, show_pbar=False).run()
    return torch.from_numpy(np.asarray(maps))


def real_slice(shared_data: Path) -> Tensor:
    import h5py

    with h5py.File(shared_data / "kspace" / "mchiew_sense_raw_data.mat") as file:
        raw = file["raw"][()]
    kspace = torch.from_numpy((raw["real"] + 1j * raw["imag"])[:, 0].astype(np.complex64))
    return kspace / kspace.abs().max()


def test_maps_agree_with_sigpy_on_a_simulated_scan() -> None:
    kspace = head_kspace(0.001, coils=8)
    maps, _ = espirit_maps(centre(kspace), (96, 88))
    assert disagreement(maps[0, 0], by_sigpy(kspace[0])) < 0.01


def test_maps_agree_with_sigpy_on_a_real_slice(shared_data: Path) -> None:
    kspace = real_slice(shared_data)
    maps, _ = espirit_maps(centre(kspace)[None], (96, 96))
    assert disagreement(maps[0, 0], by_sigpy(kspace)) < 0.01


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
def test_maps_agree_with_bart(tmp_path: Path) -> None:
    kspace = head_kspace(0.001, coils=8)
    scan = write_bart(tmp_path / "kspace.cfl", tuple(kspace.shape), kspace.numpy())  # type: ignore[arg-type]
    base = str(scan.with_suffix(""))
    # BART compares eigenvalues, the squares of the singular values that the threshold 0.02 is about.
    words = ["bart", "ecalib", "-m1", "-r24", "-k6", "-t0.0004", "-c0.95", base, str(tmp_path / "maps")]
    subprocess.run(words, check=True, capture_output=True, timeout=120)
    flat = np.fromfile(tmp_path / "maps.cfl", np.complex64).reshape((96, 88, 8), order="F")
    theirs = torch.from_numpy(np.ascontiguousarray(flat.transpose(2, 0, 1)))
    ours, _ = espirit_maps(centre(kspace), (96, 88))
    assert disagreement(ours[0, 0], theirs) < 0.01


@pytest.mark.parametrize("sets", [1, 2])
def test_maps_are_the_eigenvectors(sets: int) -> None:
    """Of the very matrices, by LAPACK, in every pixel of the object; two sets of a head that folds onto itself."""
    options, shape = EspiritOptions(sets=sets, crop=0.8), (96, 88 // sets)
    calibration = centre(head_kspace(0.001, coils=8)[..., ::sets])
    maps, values = espirit_maps(calibration, shape, options)
    kernels = espirit._kernels(calibration[0], options)
    along = (waves(extent, 5, like=kernels).conj() for extent in shape)
    gram = espirit._evaluate(espirit._gram_coefficients(kernels, 6), *along)
    exact, vectors = torch.linalg.eigh(gram)
    for index in range(sets):
        eigenvalue, following = exact[..., -1 - index], exact[..., -2 - index]
        clear = (eigenvalue > 0.8) & (eigenvalue - following > 0.05)  # else the following vector is nearly as good
        assert int(clear.sum()) > 200
        # Two eigenvectors of nearly one eigenvalue may come mixed: what they span, and the sum of both, stays.
        together = values[0, : index + 1].sum(0), exact[..., -1 - index :].sum(-1)
        assert torch.allclose(together[0][clear], together[1][clear], atol=1e-4)
        inside = vectors[..., -1 - index :].mH @ maps[0, index].movedim(0, -1).unsqueeze(-1)
        assert float((1 - inside.norm(dim=(-2, -1))[clear]).abs().max()) < 1e-5
        assert torch.equal(maps[0, index].abs().sum(0) > 0, values[0, index] > 0.8)


def test_the_products_of_patches_are_those_of_all_patches() -> None:
    """The kernels' matrix, put together from what neighbouring offsets share, is that of the patches themselves."""
    calibration = torch.randn((3, 17, 12), generator=torch.Generator().manual_seed(0), dtype=torch.complex64)
    patches = calibration.unfold(1, 5, 1).unfold(2, 5, 1).permute(1, 2, 3, 0, 4).reshape(13 * 8, -1)
    assert torch.allclose(espirit._patch_gram(calibration, 5), patches.mH @ patches, atol=1e-4)


def test_maps_have_unit_norm_or_are_zero() -> None:
    maps, values = espirit_maps(centre(head_kspace(0.01)), (96, 88), EspiritOptions(sets=2))
    power = maps.abs().pow(2).sum(2)
    assert bool(((power - 1).abs().lt(1e-4) | (power == 0)).all())
    assert bool((power[:, 0][values[:, 0] > 0.95] > 0).all())
    assert float(power[:, 0].mean()) > 0.2
    assert not power[0, 0, :4].any()  # air


def test_a_folded_field_of_view_needs_two_sets() -> None:
    """Every other line of kspace halves the field of view, and the head folds onto itself."""
    kspace = head_kspace(0.001, coils=8)[..., ::2]
    shape = (96, 44)
    mask = torch.ones(44, dtype=torch.bool)
    left = []
    for sets in (1, 2):
        maps, _ = espirit_maps(centre(kspace), shape, EspiritOptions(sets=sets, crop=0.8))
        back = sense.adjoint(kspace, maps, mask)
        image, _ = conjugate_gradients(
            lambda x, maps=maps: sense.normal(x, maps, mask) + 1e-4 * x, back, torch.zeros_like(back)
        )
        left.append(float((kspace - sense.forward(image, maps, mask)).norm() / kspace.norm()))
    assert left[1] < 0.3 * left[0], left
    assert left[1] < 0.05


def test_a_batch_is_its_slices() -> None:
    calibration = torch.cat([centre(head_kspace(0.01, seed=s)) * (1 + s) for s in range(3)])
    together, values = espirit_maps(calibration, (96, 88))
    for index in range(3):
        alone, own = espirit_maps(calibration[index : index + 1], (96, 88))
        assert torch.equal(together[index], alone[0])
        assert torch.equal(values[index], own[0])


def test_odd_sizes_keep_the_centre() -> None:
    """Maps of an odd grid are those of the same head: they explain the data as well."""
    kspace = head_kspace(0.001, rows=95, columns=87)
    maps, _ = espirit_maps(centre(kspace), (95, 87))
    mask = torch.ones(87, dtype=torch.bool)
    image = sense.adjoint(kspace, maps, mask)
    assert float((kspace - sense.forward(image, maps, mask)).norm() / kspace.norm()) < 0.1


def test_calibration_that_is_too_small_or_empty_is_an_error() -> None:
    with pytest.raises(ReconError, match="smaller than the 6x6 ESPIRiT kernel"):
        espirit_maps(torch.ones((1, 4, 5, 24), dtype=torch.complex64), (32, 32))
    calibration = torch.cat([centre(head_kspace(0.01)), torch.zeros((1, 6, 24, 24), dtype=torch.complex64)])
    with pytest.raises(ReconError, match="only zeros"):
        espirit_maps(calibration, (96, 88))

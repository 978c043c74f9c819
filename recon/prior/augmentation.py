"""Augmentation that respects MRI, on complex images; every draw comes from the generator handed in.

Flips and small rotations and scalings are other heads. Cropping kspace is another resolution. A phase that varies over
some pixels, or that fat has and water has not, is what the calibration could not remove. A slow shading is another coil
array, a global intensity change what the scale statistic leaves open. A patch of another signal is a pathology: what a
prior has never seen it makes more like its surroundings (``docs/comparisons.md``), so it may be shown patches of any
kind.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from recon.acquisition.fourier import centre_slice, to_image, to_kspace
from recon.prior.options import AugmentationOptions


def augment(
    image: Tensor, options: AugmentationOptions, generator: torch.Generator, window: int | None = None
) -> Tensor:
    """One random variant of ``image [readout, phase]`` complex64; a lower resolution gives a smaller array.

    With ``window`` only a random part of at most that many pixels a side is made, which is faster.
    """

    def normal() -> float:
        return float(torch.randn((), generator=generator))

    def uniform() -> float:
        return float(torch.rand((), generator=generator))

    if options.flips:
        axes = [axis for axis in (0, 1) if uniform() < 0.5]
        image = image.flip(axes) if axes else image
    if options.transpose and uniform() < 0.5:
        image = image.mT
    if options.resolution < 1 and uniform() < 0.75:
        kept = options.resolution + (1 - options.resolution) * uniform()
        image = lower_resolution(image, kept)
    if window is not None:
        image = random_crop(image, (min(window, image.shape[0]), min(window, image.shape[1])), generator)
    if options.rotation > 0 or options.zoom > 0:
        image = affine(image, math.radians(options.rotation) * normal(), math.exp(options.zoom * normal()))
    if options.lesions > 0 and uniform() < options.lesions:
        for _ in range(1 + int(3 * uniform() ** 3)):  # mostly one, at most three
            image = with_made_up_lesion(image, generator)
    if options.phase > 0:
        points = int(4 * 2 ** (2 * uniform()))  # features of a quarter to a sixteenth of the image
        image = image * _phasor(options.phase * math.exp(0.8 * normal()) * _smooth_field(image, points, generator))
    if options.fat_phase > 0 and uniform() < 0.15:
        magnitude = image.abs()
        bright = torch.sigmoid((magnitude / magnitude.max().clamp_min(1e-6) - 0.4 - 0.3 * uniform()) * 15)
        image = image * _phasor(options.fat_phase * normal() * bright)
    if options.shading > 0:
        image = image * (options.shading * _smooth_field(image, 3, generator)).exp()
    if options.intensity > 0:
        image = image * math.exp(options.intensity * normal())
    return image


def with_made_up_lesion(image: Tensor, generator: torch.Generator) -> Tensor:
    """``image [readout, phase]`` complex64 with one patch of another magnitude, somewhere in the head; the phase stays.

    The patch is the level set of a smooth random field minus the squared distance from a random site, 2.5 to 14 pixels
    in radius, with a soft edge of about a pixel. Its signal is that of the place times a random factor (log-normal,
    .3 to 3), more or less of its structure replaced by a common signal with a fine texture. An image without signal is
    returned as it is.
    """

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    magnitude = image.abs()
    sites = torch.nonzero(magnitude > 0.25 * magnitude.max())
    if len(sites) == 0:
        return image
    down, across = sites[int(torch.randint(len(sites), (), generator=generator))].tolist()
    radius, angle, stretch = math.exp(between(math.log(2.5), math.log(14))), between(0, math.pi), between(0.6, 1.0)
    rows = torch.arange(image.shape[0], dtype=torch.float32)[:, None] - down
    columns = torch.arange(image.shape[1], dtype=torch.float32)[None] - across
    along = stretch * (math.cos(angle) * rows + math.sin(angle) * columns) / radius
    aside = (math.cos(angle) * columns - math.sin(angle) * rows) / (radius * stretch)
    points = max(4, round(max(image.shape) / max(radius, 4.0) * 1.5))  # features of two thirds of the radius
    level = 1 + 0.45 * _smooth_field(image, points, generator) - along**2 - aside**2
    core = torch.sigmoid(level * (radius / 2) / between(0.3, 1.0))  # the level falls by 2 / radius a pixel at the edge
    typical = (core * magnitude).sum() / core.sum().clamp_min(1e-6)
    factor = math.exp(min(max(0.6 * float(torch.randn((), generator=generator)), -1.2), 1.1))
    common = between(0, 1)
    texture = 1 + between(0, 0.15) * _smooth_field(image, max(image.shape) // 3, generator)
    signal = factor * ((1 - common) * magnitude + common * typical * texture)
    core = core * (magnitude / (0.3 * typical).clamp_min(1e-12)).clamp_max(1)  # air stays air
    changed = (magnitude + core * (signal - magnitude)).clamp_min(0)
    return image * (changed / magnitude.clamp_min(1e-12))


def _smooth_field(image: Tensor, points: int, generator: torch.Generator) -> Tensor:
    """Unit-variance random numbers on a coarse grid of ``points`` a side, interpolated to the image's size."""
    coarse = torch.randn((1, 1, points, points), generator=generator)
    return functional.interpolate(coarse, tuple(image.shape), mode="bicubic", align_corners=True)[0, 0]


def _phasor(phase: Tensor) -> Tensor:
    return torch.polar(torch.ones_like(phase), phase)


def lower_resolution(image: Tensor, kept: float) -> Tensor:
    """The image of the central ``kept`` fraction of kspace: fewer, larger pixels of the same scale_ratio."""
    shape = [max(16, 2 * round(kept * size / 2)) for size in image.shape]
    rows, columns = (centre_slice(size, min(size, small)) for size, small in zip(image.shape, shape, strict=True))
    small = to_image(to_kspace(image)[rows, columns])
    return small * math.sqrt(small.numel() / image.numel())


def affine(image: Tensor, angle: float, zoom: float) -> Tensor:
    """Rotation (radians) and zoom about the centre; what comes in from outside is zero."""
    rows, columns = image.shape
    cosine, sine = math.cos(angle) / zoom, math.sin(angle) / zoom
    matrix = torch.tensor([[[cosine, -sine * rows / columns, 0.0], [sine * columns / rows, cosine, 0.0]]])
    grid = functional.affine_grid(matrix, [1, 2, rows, columns], align_corners=False)
    channels = torch.view_as_real(image).movedim(-1, 0)[None]
    moved = functional.grid_sample(channels, grid, mode="bicubic", align_corners=False)[0]
    return torch.view_as_complex(moved.movedim(0, -1).contiguous())


def random_crop(image: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A random window of ``size``; smaller images are padded with zeros around."""
    for axis, wanted in enumerate(size):
        missing = wanted - image.shape[axis]
        if missing > 0:
            before = int(torch.randint(0, missing + 1, (), generator=generator))
            pads = [0, 0, 0, 0]
            pads[2 * (1 - axis)], pads[2 * (1 - axis) + 1] = before, missing - before
            image = functional.pad(image, pads)
        else:
            start = int(torch.randint(0, -missing + 1, (), generator=generator))
            image = image.narrow(axis, start, wanted)
    return image

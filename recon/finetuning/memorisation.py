"""Does the prior draw its training images? Nearest training image of its samples, against that of held-out patients.

Pictures are compared by correlation at 64 x 64 pixels, over the flips that augmentation makes. The yardstick comes from
the cohort itself: for each patient's images the nearest image of any other patient, as if that patient had been held
out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from recon.evenly import evenly_spread
from recon.posterior.schedule import Schedule
from recon.prior.dataset import PreparedScan, unit_noise
from recon.prior.denoiser import Denoiser, denoise
from recon.seeding import torch_generator

SIDE = 64
SAMPLES = 12  # prior samples that fine-tuning checks


@dataclass(frozen=True)
class Memorisation:
    """Correlations with the nearest training image: of each sample, and of patients' images with other patients'.

    ``suspicious`` samples are nearer to a training image than 99 % of the patients' images are to another patient's.
    """

    samples: tuple[float, ...]
    held_out: tuple[float, ...]
    suspicious: int

    @property
    def memorised(self) -> bool:
        """More suspicious samples than chance makes: at least two, and more than a tenth."""
        return self.suspicious >= 2 and self.suspicious > 0.1 * len(self.samples)


def draw_images(
    denoiser: Denoiser,
    contrast_label: int,
    shape: tuple[int, int],
    count: int,
    *,
    steps: int = 24,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """``count`` images ``[image, readout, phase]`` complex64 from the prior alone, along its probability-flow ODE
    (Karras et al., NeurIPS 2022, Eq. 1, Euler steps)."""
    sigmas = Schedule(10.0, steps, 0.01).sigmas()
    images = []
    for number in range(count):
        noise = unit_noise(shape, torch_generator(seed, "prior sample", number)).to(device)
        image = sigmas[0] * noise[None]
        for sigma, following in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
            with torch.no_grad():
                clean = denoise(denoiser, image, sigma, contrast_label)
            image = clean + (following / sigma) * (image - clean)
        images.append(image[0].cpu())
    return torch.stack(images)


def check_memorisation(samples: Tensor, scans: Sequence[PreparedScan], *, slices_per_scan: int = 8) -> Memorisation:
    """Compare ``samples [image, readout, phase]`` with the slices of the training scans of at least two subjects."""
    pictures, owners = [], []
    for scan in scans:
        for index in evenly_spread(scan.slices, slices_per_scan):
            pictures.append(picture(scan.read(index)))
            owners.append(scan.subject)
    training = torch.stack(pictures)
    names = {name: number for number, name in enumerate(dict.fromkeys(owners))}
    owner = torch.tensor([names[name] for name in owners])
    between = nearest(training, training)
    between[owner[:, None] == owner[None, :]] = -1.0
    held_out = between.max(1).values
    drawn = nearest(torch.stack([picture(image) for image in samples]), training).max(1).values
    threshold = held_out.quantile(0.99)
    return Memorisation(
        tuple(float(v) for v in drawn), tuple(float(v) for v in held_out), int((drawn > threshold).sum())
    )


def picture(image: Tensor) -> Tensor:
    """The magnitude at 64 x 64 pixels without its mean, of unit norm."""
    small = functional.interpolate(image.abs()[None, None], (SIDE, SIDE), mode="area")[0, 0]
    small = small - small.mean()
    return small / small.norm().clamp_min(1e-6)


def nearest(first: Tensor, second: Tensor) -> Tensor:
    """Highest correlation over flips of every picture in ``first [n, ...]`` with every one in ``second [m, ...]``."""
    flips = [second, second.flip(-1), second.flip(-2), second.flip(-1, -2)]
    return torch.stack([first.flatten(1) @ entry.flatten(1).T for entry in flips]).amax(0)

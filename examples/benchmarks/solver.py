"""Times of calibration and data consistency at 16 coils, 320x320, against sigpy and against one A^H A.

    python examples/benchmarks/solver.py [--size 320] [--coils 16] [--without-sigpy]

All ratios are of processor times taken in this process, the best of several repetitions: other work on the machine
does not count. Several threads add up in them; OMP_NUM_THREADS=1 gives plain times.
"""

import argparse
import time
from collections.abc import Callable

import torch

from recon.acquisition import sense
from recon.acquisition.espirit import espirit_maps
from recon.acquisition.fourier import centre_slice, to_kspace
from recon.acquisition.problem import Problem
from recon.posterior.hybrid_space import hybrid_space_solver
from recon.posterior.iterative import iterative_system
from recon.posterior.least_squares import least_squares
from recon.posterior.random_streams import NoiseStreams


def seconds(work: Callable[[], object], repetitions: int) -> float:
    """Best time of a call."""
    best = float("inf")
    for _ in range(repetitions):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def head(size: int, coils: int) -> torch.Tensor:
    """Fully sampled kspace ``[slice, coil, readout, phase]`` of a textured ellipse in smooth coils."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    inside = (y / 0.85) ** 2 + (x / 0.7) ** 2 < 1
    texture = 1 + 0.3 * torch.sin(9 * y) * torch.cos(11 * x) + 0.2 * torch.sin(23 * x * y)
    angles = torch.arange(coils) * 2 * torch.pi / coils
    maps = [
        torch.exp(-((y - a.cos()) ** 2 + (x - a.sin()) ** 2) / 1.5) * torch.exp(1j * (y * a.sin() + x * a.cos()))
        for a in angles
    ]
    clean = to_kspace((inside * texture * torch.stack(maps)).to(torch.complex64))[None]
    noise = torch.view_as_complex(torch.randn((*clean.shape, 2), generator=torch.Generator().manual_seed(0)))
    return clean + 0.01 * noise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--coils", type=int, default=16)
    parser.add_argument("--without-sigpy", action="store_true")
    words = parser.parse_args()
    size, coils = words.size, words.coils
    kspace = head(size, coils)
    centre = centre_slice(size, 24)
    calibration = kspace[..., centre, centre]
    own = seconds(lambda: espirit_maps(calibration, (size, size)), 2)
    print(f"ESPIRiT: {own:.2f} s")
    if not words.without_sigpy:
        from sigpy.mri.app import EspiritCalib

        other = seconds(lambda: EspiritCalib(kspace[0].numpy(), calib_width=24, crop=0.95, show_pbar=False).run(), 1)
        print(f"ESPIRiT by sigpy: {other:.2f} s, {other / own:.1f} times ours (bar: at least 5)")

    mask = torch.arange(size) % 4 == 0
    mask[centre] = True
    maps, _ = espirit_maps(calibration, (size, size))
    whole = slice(0, size)
    problem = Problem(
        slices=(0,), kspace=kspace * mask, mask=mask, maps=maps, scale=torch.ones(1), sigma=torch.full((1,), 0.01),
        restore_coils=torch.eye(coils, dtype=torch.complex64), crop=(whole, whole),
    )  # fmt: skip
    image = torch.ones((1, 1, size, size), dtype=torch.complex64)
    unit = seconds(lambda: sense.normal(image, maps, mask), 5)
    print(f"A^H A: {unit * 1e3:.0f} ms")
    setup = seconds(lambda: hybrid_space_solver(problem), 3)
    print(f"row solver, set-up: {setup:.2f} s = {setup / unit:.1f} applications of A^H A (bar: at most 60)")
    lines = seconds(lambda: least_squares(problem), 3)
    print(f"noise of the lines, before it: {lines:.2f} s = {lines / unit:.1f} applications")
    system, denoiser_variance, noise = (
        hybrid_space_solver(problem),
        torch.full((1,), 0.01),
        NoiseStreams(0, "benchmark", [0], [0]),
    )
    denoised = image.unsqueeze(1)
    draw = seconds(lambda: system.condition(denoised, denoiser_variance, noise), 5)
    print(f"row solver, mean and draw: {draw * 1e3:.0f} ms = {draw / unit:.2f} applications (bar: at most 2)")
    alone = seconds(lambda: system.draw(denoised, denoiser_variance, noise), 5)
    print(f"row solver, draw alone: {alone * 1e3:.0f} ms = {alone / unit:.2f} applications")
    mean = seconds(lambda: system.mean(denoised, denoiser_variance), 5)
    print(f"row solver, mean alone: {mean * 1e3:.0f} ms; 20 steps of conjugate gradients: {20 * unit * 1e3:.0f} ms")
    iterative = iterative_system(problem)
    solve = seconds(lambda: iterative.mean(denoised, denoiser_variance), 1)
    print(f"conjugate gradients to its tolerance: {solve:.2f} s = {solve / unit:.0f} applications")


if __name__ == "__main__":
    main()

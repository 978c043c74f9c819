"""Apparent diffusion coefficients: adc."""

from pathlib import Path
from typing import Annotated

import typer

from cli.flags import AsJson
from cli.output import emit


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command()(adc)


def adc(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="Images of one geometry, one file a b-value: results of 'recon reconstruct', NIfTI or DICOM folders.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The map as NIfTI (.nii, .nii.gz); its standard deviation as FILE_std.")
    ],
    b_values: Annotated[
        str, typer.Option(metavar="B,B,...", help="In s/mm^2, one a file. Without it: of the .bval beside each NIfTI.")
    ] = "",
    noise: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the noise (of a real component) in the images' units. Without it: from the "
            "background."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit S0 exp(-b ADC) to every voxel, knowing that magnitudes are Rician.

    Both maps are in 1e-6 mm^2/s and 0 where nothing could be fitted: signal below three times the noise, or a fit that
    ends at 0 or at 0.01 mm^2/s.
    """
    from recon.errors import ReconError
    from recon.quality.adc_maps import write_adc

    try:
        known = [float(word) for word in b_values.split(",") if word.strip()]
    except ValueError as error:
        raise ReconError(f"--b-values {b_values}: not numbers with commas between them, such as 0,1000") from error
    found = write_adc(images, known, out, noise)
    result = {
        "output": str(found.output),
        "std_output": str(found.std_output),
        "noise": found.noise,
        "voxels": found.voxels,
        "median_adc_mm2_per_s": found.median_adc,
        "median_std_mm2_per_s": found.median_std,
    }
    lines = [
        f"{found.output}: {found.voxels} voxels, median ADC {found.median_adc * 1e6:.0f} +- "
        f"{found.median_std * 1e6:.0f} 1e-6 mm^2/s, noise {found.noise:.3g}",
        f"{found.std_output}: its standard deviation",
    ]
    emit(result, lines, as_json)

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
            metavar="IMAGE",
            help="Images of one geometry and two or more b-values: results of 'recon reconstruct', DICOM series (a "
            "folder each; one may hold several b-values), NIfTI (3-D, or 4-D with its .bval file).",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The map as NIfTI (.nii, .nii.gz); its standard deviation as FILE_std.")
    ],
    b_values: Annotated[
        str,
        typer.Option(
            metavar="B,B,...",
            help="In s/mm^2, one an image, in the order of the files. Without it: what DICOM headers (DiffusionBValue, "
            "or the private elements of Siemens, GE and Philips), the .bval beside each NIfTI, or the scans of results "
            "state.",
        ),
    ] = "",
    noise: Annotated[
        float | None,
        typer.Option(
            metavar="SIGMA",
            help="Standard deviation of the noise (of a real component) in the images' units. Without it: what results "
            "state of their scans, of other files that of the background.",
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
        "b_values_s_per_mm2": list(found.b_values),
        "b_value_sources": list(found.b_sources),
        "noise": found.noise,
        "noise_source": found.noise_source,
        "voxels": found.voxels,
        "median_adc_mm2_per_s": found.median_adc,
        "median_std_mm2_per_s": found.median_std,
    }
    b_said = ", ".join(f"{value:g}" for value in found.b_values)
    lines = [
        f"b-values {b_said} s/mm^2, of {', '.join(dict.fromkeys(found.b_sources))}",
        f"{found.output}: {found.voxels} voxels, median ADC {found.median_adc * 1e6:.0f} +- "
        f"{found.median_std * 1e6:.0f} 1e-6 mm^2/s, noise {found.noise:.3g} ({found.noise_source})",
        f"{found.std_output}: its standard deviation",
    ]
    emit(result, lines, as_json)

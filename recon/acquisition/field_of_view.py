"""The field of view that a reconstruction works on, and whether it is large enough."""

from recon.acquisition.masks import SMALLEST_CALIBRATION, SMALLEST_GRID
from recon.scan import Scan


def worked_on(scan: Scan) -> tuple[tuple[int, int], tuple[int, int]]:
    """Grid and calibration extent (readout, phase) once readout oversampling is dropped, which is done before the work
    where rows are independent along a fully sampled readout."""
    readout, phase = scan.shape[2:]
    rows, columns = scan.calibration
    if scan.mask.ndim == 1 and scan.image_shape[0] < readout:
        kept = scan.image_shape[0]
        return (kept, phase), (min(kept, max(1, rows * kept // readout)), columns)
    return (readout, phase), (rows, columns)


def too_small(scan: Scan) -> str | None:
    """Why coil maps cannot be estimated, in words; None when there is room for them."""
    grid, calibration = worked_on(scan)
    if min(grid) < SMALLEST_GRID:
        return f"k-space of {grid[0]} x {grid[1]}: at least {SMALLEST_GRID} x {SMALLEST_GRID} is needed"
    if 0 < min(calibration) < SMALLEST_CALIBRATION <= min(scan.calibration):
        return (
            f"calibration of {calibration[0]} x {calibration[1]} without readout oversampling: at least "
            f"{SMALLEST_CALIBRATION} are needed; the header's reconstruction matrix is too small for this k-space"
        )
    return None

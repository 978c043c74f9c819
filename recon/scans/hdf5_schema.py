"""What the parts of an HDF5 scan must be: the tables that ``recon.foreign.schema`` checks before anything is read."""

import dataclasses
from collections.abc import Iterable

from recon.foreign.schema import COMPLEX, NUMBER, TEXT, Part
from recon.header import Header

REMEDY = "export or write the scan again, or remove that part"


def header_parts(group: str) -> Iterable[Part]:
    """The fields of ``recon.header.Header`` as attributes of a group."""
    for field in dataclasses.fields(Header):
        kind = TEXT if field.type == str | None else NUMBER
        yield Part(f"{group}@{field.name}", kind, (0, 1), 1, None if kind == TEXT else 0)


FASTMRI = (
    Part("kspace", COMPLEX, (3, 4)),
    Part("reconstruction_rss", NUMBER, (3,)),
    Part("mask", NUMBER, (1, 2, 3, 4, 5)),
    Part("ismrmrd_header", TEXT, (0, 1), 1),
    Part("/@acquisition", TEXT, (0, 1), 1),
    Part("/@patient_id", TEXT, (0, 1), 1),
    Part("recon", None),
    Part("recon/mask", NUMBER, (1, 2)),
    Part("recon/noise", COMPLEX, (2,)),
    Part("recon/noise_covariance", COMPLEX, (2,)),
    Part("recon/calibration_kspace", COMPLEX, (4,)),
    Part("recon@version", NUMBER, (0,), 1, 1),
    Part("recon@contrast", TEXT, (0, 1), 1),
    # ``recon.scans.validity`` judges geometry, with words of its own, for scans of every format.
    Part("recon@voxel_size_mm", NUMBER, (1,), 3, judged_later=True),
    Part("recon@affine", NUMBER, (2,), 16, judged_later=True),
    Part("recon@phase_limits", NUMBER, (1,), 2, 0),
    Part("recon@image_shape", NUMBER, (1,), 2, 1),
    Part("recon@source_digest", TEXT, (0, 1), 1),
    Part("recon@identity", TEXT, (0, 1), 1),
    Part("recon@protocol_named_by_recon", NUMBER, (0,), 1, 0),
    *header_parts("recon"),
)


def ismrmrd_parts(group: str) -> tuple[Part, ...]:
    """The parts of an ISMRMRD group but for its table of acquisitions, whose type ``recon.scans.ismrmrd`` knows."""
    return (Part(f"{group}/xml", TEXT, (0, 1), 1, needed=True),)

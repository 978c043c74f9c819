"""A scan of any format as ISMRMRD acquisitions: what a scanner would have sent."""

from collections.abc import Iterator
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.scan import Scan
from recon.scans.ismrmrd_header import Encoding, EncodingLimit, build_xml

_ACQ_LAST_IN_SLICE, _ACQ_IS_NOISE_MEASUREMENT = 8, 19
_MOST_SAMPLES = 1 << 14
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def acquisitions_of(scan: Scan) -> tuple[bytes, Iterator[tuple[NDArray, NDArray[np.complex64]]]]:
    """The XML header, and heads with samples ``[coil, sample]``: noise first, then line by line all slices.

    Raises ReconError for what acquisitions cannot tell: 2-D masks, a separate calibration scan, a noise covariance
    without the noise, and a scan of unknown voxel size.
    """
    for wrong, present in (
        ("a mask along readout and phase", scan.mask.ndim != 1),
        ("a separate calibration scan", scan.calibration_kspace is not None),
        ("a noise covariance without a noise scan", scan.noise is None and scan.noise_covariance is not None),
        ("no voxel size", scan.voxel_size is None),
    ):
        if present:
            raise ReconError(f"{scan.path}: has {wrong}, which cannot be sent as acquisitions; send an ISMRMRD file")
    return _header(scan), _acquisitions(scan)


def _header(scan: Scan) -> bytes:
    slices, _, readout, phase = scan.shape
    assert scan.voxel_size is not None
    thickness = scan.header.slice_thickness_mm or scan.voxel_size[2]
    first, end = scan.phase_limits or (0, phase)
    encoding = Encoding(
        encoded_matrix=(readout, phase, 1),
        encoded_fov=(readout * scan.voxel_size[0], phase * scan.voxel_size[1], thickness),
        recon_matrix=(*scan.image_shape, 1),
        recon_fov=(scan.image_shape[0] * scan.voxel_size[0], scan.image_shape[1] * scan.voxel_size[1], thickness),
        limits={
            "kspace_encoding_step_1": EncodingLimit(first, end - 1, phase // 2),
            "slice": EncodingLimit(0, slices - 1, 0),
        },
        scan=replace(scan.header, relative_noise_bandwidth=None),  # the noise is at the images' level already
    )
    root = ElementTree.fromstring(build_xml(encoding))
    space = root.tag.partition("}")[0] + "}"
    if scan.contrast != "unknown":
        section = root.find(f"{space}measurementInformation")
        if section is None:
            section = ElementTree.Element(f"{space}measurementInformation")
            root.insert(0, section)
        ElementTree.SubElement(section, f"{space}protocolName").text = _protocol(scan.contrast)
    ElementTree.register_namespace("", space[1:-1])
    return ElementTree.tostring(root, encoding="utf-8")


def _protocol(contrast: str) -> str:
    """A protocol's name from which ``contrast_of_protocol`` reads the contrast."""
    return "t1_post" if contrast == "T1POST" else contrast.lower()


def _acquisitions(scan: Scan) -> Iterator[tuple[NDArray, NDArray[np.complex64]]]:
    from ismrmrd.hdf5 import acquisition_header_dtype

    slices, coils, readout, _ = scan.shape
    kspace = [scan.read_kspace(index) for index in range(slices)]
    head = np.zeros((), acquisition_header_dtype)
    head["version"], head["active_channels"], head["available_channels"] = 1, coils, coils
    if scan.noise is not None:
        noise = head.copy()
        noise["flags"] = 1 << (_ACQ_IS_NOISE_MEASUREMENT - 1)
        for start in range(0, scan.noise.shape[1], _MOST_SAMPLES):
            yield noise, np.ascontiguousarray(scan.noise[:, start : start + _MOST_SAMPLES])
    lines = np.flatnonzero(scan.mask)
    for line in lines:
        for index in range(slices):
            own = head.copy()
            place_head(scan, own, index)
            own["idx"]["slice"], own["idx"]["kspace_encode_step_1"] = index, line
            own["center_sample"] = readout // 2
            own["flags"] = 1 << (_ACQ_LAST_IN_SLICE - 1) if line == lines[-1] else 0
            yield own, np.ascontiguousarray(kspace[index][:, :, line])


def place_head(scan: Scan, head: NDArray, index: int) -> None:
    """Position and directions of a slice in LPS; slices along z where the scan does not say."""
    assert scan.voxel_size is not None
    if scan.affine is None:
        head["position"] = (0, 0, index * scan.voxel_size[2])
        return
    matrix = _TO_LPS @ scan.affine
    centre = matrix @ (scan.image_shape[0] // 2, scan.image_shape[1] // 2, index, 1)
    head["position"] = centre[:3]
    for axis, name in enumerate(("read_dir", "phase_dir", "slice_dir")):
        head[name] = matrix[:3, axis] / np.linalg.norm(matrix[:3, axis])

"""Siemens raw data for tests, written with twixtools' own structures (and, from VD on, its own writer)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import twixtools
from numpy.typing import NDArray
from twixtools import hdr_def, mdb, mdh_def

QUATERNION = (0.5, 0.5, 0.5, 0.5)  # a rotation: x -> y -> z -> x


@dataclass
class Line:
    """One readout ``samples`` ``[coil, sample]`` and where it belongs."""

    samples: NDArray
    counters: Mapping[str, int] = field(default_factory=dict)  # Lin, Par, Sli, Ave, Eco ... as twixtools calls them
    centre: tuple[int, int, int] = (0, 0, 0)  # column, line, partition
    flags: Sequence[str] = ()
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    quaternion: tuple[float, ...] = QUATERNION
    cut: tuple[int, int] = (0, 0)


@dataclass
class Scan:
    """One measurement: its lines and its protocol."""

    lines: Sequence[Line]
    protocol: Mapping[str, Any]
    described: Mapping[str, str] = field(default_factory=lambda: dict(DESCRIBED))


DESCRIBED = {
    "ManufacturersModelName": '<ParamString."ManufacturersModelName">  { "Prisma_fit"  }',
    "tPatientName": '<ParamString."tPatientName">  { "Muster^Max"  }',
    "tPatientPosition": '<ParamString."tPatientPosition">  { "HFS"  }',
    "flMagneticFieldStrength": '<ParamDouble."flMagneticFieldStrength">  { <Precision> 6  2.893620 }',
    "flReadoutOSFactor": '<ParamDouble."flReadoutOSFactor">  { <Precision> 16  2.0 }',
}


def protocol(base: int, lines: int, **changes: Any) -> dict[str, Any]:
    """A protocol of a 2-D scan with voxels of 4 x 5 x 6 mm; ``changes``: parameters with __ for a point."""
    values: dict[str, Any] = {
        "tProtocolName": '"t2_tse_tra"',
        "tSequenceFileName": '"%SiemensSeq%\\\\tse"',
        "sKSpace.lBaseResolution": base,
        "sKSpace.lPhaseEncodingLines": lines,
        "sKSpace.ucDimension": "0x2",
        "sKSpace.ucTrajectory": "0x1",
        "sSliceArray.asSlice[0].dReadoutFOV": 4.0 * base,
        "sSliceArray.asSlice[0].dPhaseFOV": 5.0 * lines,
        "sSliceArray.asSlice[0].dThickness": 6.0,
        "alTR[0]": 4_000_000,
        "alTE[0]": 90_000,
        "adFlipAngleDegree[0]": 150.0,
        "sRXSPEC.alDwellTime[0]": 5000,
        "sCoilSelectMeas.aRxCoilSelectData[0].asList[0].sCoilElementID.tElement": '"HC1"',
        "sCoilSelectMeas.aRxCoilSelectData[0].asList[1].sCoilElementID.tElement": '"HC2"',
    }
    return values | {name.replace("__", "."): value for name, value in changes.items()}


def header(scan: Scan) -> bytes:
    """The text header of a measurement."""
    assignments = "\n".join(f"{name}\t = \t{value}" for name, value in scan.protocol.items())
    texts = {
        "Config": '<ParamString."tPatientName"> { "Muster^Max" }',
        "Dicom": "\n".join(scan.described.values()),
        "Meas": "\n" * 10000,  # a header of fewer bytes would look like that of a later version
        "MeasYaps": f"### ASCCONV BEGIN ###\n{assignments}\n### ASCCONV END ###",
    }
    body = b"".join(
        name.encode() + b"\0" + len(text).to_bytes(4, "little") + text.encode() for name, text in texts.items()
    )
    return (8 + len(body)).to_bytes(4, "little") + len(texts).to_bytes(4, "little") + body


def blocks(lines: Sequence[Line], version_is_ve: bool) -> list[mdb.Mdb_local]:
    """The lines as twixtools' own objects."""
    found = []
    for number, line in enumerate(lines):
        block = mdb.Mdb_local(np.asarray(line.samples, np.complex64), version_is_ve)
        head = block.mdh
        head.MeasUID, head.ScanCounter, head.TimeStamp = 7, number + 1, 1000 + number
        head.CenterCol, head.CenterLin, head.CenterPar = line.centre
        head.CutOff.Pre, head.CutOff.Post = line.cut
        for name, value in line.counters.items():
            setattr(head.Counter, name, value)
        for name, value in zip(("Sag", "Cor", "Tra"), line.position, strict=True):
            setattr(head.SliceData.SlicePos, name, value)
        head.SliceData.Quaternion[:] = line.quaternion
        for flag in line.flags:
            block.add_flag(flag)
        found.append(block)
    return found


def write_vd(path: Path, *scans: Scan) -> Path:
    """A file of VD, VE or XA, by twixtools' writer."""
    content = []
    for scan in scans:
        entry = np.zeros(1, hdr_def.MrParcRaidFileEntry)[0]
        entry["patName_"], entry["protName_"] = b"Muster^Max", b"prot"
        text = np.frombuffer(header(scan), "S1")
        content.append({"mdb": blocks(scan.lines, True), "hdr_str": text, "raidfile_hdr": entry})
    path.unlink(missing_ok=True)  # its writer does not write over
    twixtools.write_twix(content, path)
    return path


def write_vb(path: Path, scan: Scan) -> Path:
    """A file of VB, of twixtools' structures: its writer does not do this version yet."""
    with path.open("wb") as file:
        file.write(header(scan))
        for block in blocks(scan.lines, False):
            for channel, samples in enumerate(block.data):
                block.mdh.ChannelId = channel
                file.write(bytearray(block.mdh))
                samples.tofile(file)
        end = mdh_def.VB17_header(SamplesInScan=16, UsedChannels=1)
        mdh_def.add_flag(end, "ACQEND")
        mdh_def.set_dma_len(end, 256)
        file.write(bytearray(end) + bytes(128))
    return path

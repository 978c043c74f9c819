"""Changes of headers of fixed layout: BART, NIfTI, DICOM, NumPy, MATLAB, zip archives, safetensors, pickles."""

import gzip
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzzing.bombs import PIECE, deflated, gzipped, write_zip, zlib_stream
from tests.fuzzing.mutation import BYTES, Expected, Mutation, bytes_anywhere, emptied, pick
from tests.fuzzing.text_mutations import NUMBERS

# ---------------------------------------------------------------- BART


def bart_header(path: Path, generator: np.random.Generator) -> Expected:
    """Another dimension in the .hdr, or another text."""
    header = path.with_suffix(".hdr")
    dims = header.read_text("ascii").split("\n")[1].split()
    if generator.random() < 0.7:
        place = int(generator.integers(len(dims)))
        dims[place] = str(pick(generator, [*NUMBERS, "2", "1099511627776", "-4"]))
        header.write_text("# Dimensions\n" + " ".join(dims) + "\n", "utf-8")
    else:
        header.write_text(str(pick(generator, ["", "# Dimensions", "# Dimensions\n", " ".join(dims), "# Dims\n1 1\n"])))
    return "any"


def bart_data(path: Path, generator: np.random.Generator) -> Expected:
    """Values that are not finite, or data cut short or made longer."""
    values = np.fromfile(path, np.complex64)
    kind = int(generator.integers(3))
    if kind == 0:
        values[generator.integers(values.size, size=5)] = pick(generator, [np.nan, np.inf, complex(0, np.inf)])
    elif kind == 1:
        values = values[: int(generator.integers(values.size))]
    else:
        values = np.concatenate([values, values[: int(generator.integers(1, values.size))]])
    values.tofile(path)
    return "refusal"


BART = (Mutation("header", bart_header), Mutation("header", bart_header), Mutation("data", bart_data), *BYTES)

# ---------------------------------------------------------------- NIfTI

_FIELDS = {
    "sizeof_hdr": (0, "<i"), "dim_info": (39, "<B"), "dim": (40, "<8h"), "intent": (68, "<h"), "datatype": (70, "<h"),
    "bitpix": (72, "<h"), "pixdim": (76, "<8f"), "vox_offset": (108, "<f"), "scl_slope": (112, "<f"),
    "scl_inter": (116, "<f"), "xyzt": (123, "<B"), "qform_code": (252, "<h"), "sform_code": (254, "<h"),
    "quatern": (256, "<6f"), "srow": (280, "<12f"), "magic": (344, "<4B"), "extension": (348, "<4B"),
}  # fmt: skip


def nifti_field(path: Path, generator: np.random.Generator) -> Expected:
    """One field of the header with an odd value."""
    data = bytearray(gzip.decompress(path.read_bytes()))
    place, layout = pick(generator, list(_FIELDS.values()))  # type: ignore[misc]
    values: list[Any] = list(struct.unpack_from(layout, data, place))
    at = int(generator.integers(len(values)))
    if layout.endswith("f"):
        odd: list[object] = [0.0, float("nan"), float("inf"), -1.0, 1e30, 1e-30, 5.0, -values[at]]
    elif layout.endswith("B"):
        odd = [0, 1, 2, 57, 255]
    else:
        odd = [
            0,
            1,
            -1,
            2,
            4,
            8,
            16,
            32,
            64,
            128,
            256,
            512,
            768,
            1024,
            1280,
            1536,
            1792,
            2048,
            2304,
            5,
            7,
            32767,
            -32768,
        ]
    values[at] = pick(generator, odd)
    struct.pack_into(layout, data, place, *values)
    path.write_bytes(gzip.compress(bytes(data), 1))
    return "any"


def nifti_bomb(path: Path, generator: np.random.Generator) -> Expected:
    """Dimensions of gigabytes, over nothing or over zeros that a few bytes unpack to."""
    data = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<8h", data, 40, 3, 32767, 32767, int(pick(generator, [1, 2, 32767])), 1, 1, 1, 1)  # type: ignore[call-overload]
    path.write_bytes(gzipped(bytes(data), int(generator.integers(0, 3)) * 12))
    return "refusal"


NIFTI = (*(Mutation("field", nifti_field),) * 4, Mutation("bomb", nifti_bomb), *BYTES)

# ---------------------------------------------------------------- DICOM

_ELEMENTS: dict[str, tuple[Any, ...]] = {
    "Rows": (0, 1, 65535),
    "Columns": (0, 1, 65535),
    "BitsAllocated": (0, 1, 8, 32, 64, 7),
    "BitsStored": (0, 8, 64),
    "HighBit": (0, 31),
    "PixelRepresentation": (1, 9),
    "SamplesPerPixel": (0, 3, 255),
    "NumberOfFrames": ("0", "-1", "9999999"),
    "PhotometricInterpretation": ("RGB", "", "PALETTE COLOR"),
    "RescaleSlope": ("0", "nan", "inf", "1e400", "-1", ""),
    "RescaleIntercept": ("nan", "inf", "1e300"),
    "PixelSpacing": (["0", "0"], ["nan", "1"], ["-1", "1"], ["1"], None, ["inf", "1"]),
    "ImageOrientationPatient": (["0"] * 6, ["nan"] * 6, list("100100"), ["1"] * 3, None, list("500050")),
    "ImagePositionPatient": (["nan"] * 3, ["1"], None, ["inf", "0", "0"], ["0", "0", "0"]),
    "SliceThickness": ("0", "nan", "-1", None),
    "SpacingBetweenSlices": ("nan", "0", "-3", "inf"),
    "SeriesInstanceUID": (None, "1.2.3", ""),
    "PixelData": (b"", b"\0" * 100, None),
}


def dicom_element(folder: Path, generator: np.random.Generator) -> Expected:
    """One element with an odd value, or absent, in one file or in all of them."""
    import warnings

    import pydicom
    from pydicom import config

    name = str(pick(generator, list(_ELEMENTS)))
    value = pick(generator, _ELEMENTS[name])
    files = sorted(entry for entry in folder.rglob("*") if entry.is_file())
    for file in files if generator.random() < 0.5 else files[:1]:
        before = config.settings.reading_validation_mode, config.settings.writing_validation_mode
        config.settings.reading_validation_mode = config.settings.writing_validation_mode = config.IGNORE
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset = pydicom.dcmread(file)
                if value is None:
                    if name in dataset:
                        del dataset[name]
                else:
                    tag = pydicom.datadict.tag_for_keyword(name)
                    kind = pydicom.datadict.dictionary_VR(tag) if name != "PixelData" else "OW"
                    element = pydicom.DataElement(tag, kind, value, already_converted=True)
                    dataset[tag] = element
                dataset.save_as(file)
        except Exception:  # what pydicom cannot write: the file is damaged instead
            bytes_anywhere(file, generator)
        finally:
            config.settings.reading_validation_mode, config.settings.writing_validation_mode = before
    return "any"


def in_folder(
    change: Callable[[Path, np.random.Generator], Expected],
) -> Callable[[Path, np.random.Generator], Expected]:
    """The change in one file of a folder."""

    def changed(folder: Path, generator: np.random.Generator) -> Expected:
        files = sorted(entry for entry in folder.rglob("*") if entry.is_file())
        change(files[int(generator.integers(len(files)))], generator)
        return "any"

    return changed


def dicom_deflated(folder: Path, generator: np.random.Generator) -> Expected:
    """A deflated data set that unpacks to gigabytes."""
    file = min(entry for entry in folder.rglob("*") if entry.is_file())
    data = file.read_bytes()
    data = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99", 1)
    start = max(data.find(b"\x08\x00\x05\x00"), 400)
    file.write_bytes(data[:start] + deflated(data[start:], int(generator.integers(16, 33))))
    return "any"


DICOM = (
    *(Mutation("element", dicom_element),) * 4,
    Mutation("bytes", in_folder(bytes_anywhere)),
    Mutation("emptied", in_folder(emptied)),
    Mutation("deflated", dicom_deflated),
)

# ---------------------------------------------------------------- NumPy, MATLAB, archives

_SHAPES = (
    "(1099511627776,)", "(-1, 2, 2, 2)", "(2, 3, 40, 40", "(2, 3, 40, 41)", "(0, 3, 40, 40)", "()", "5", "None",
    "(1e3,)", "(" * 300, "(2, 3, 4, 400)", "(True, 3, 40, 40)",
)  # fmt: skip
_TYPES = (
    "'<f8'", "'O'", "'<c16'", "'>c8'", "'|V8'", "[('a', '<f4')]", "5", "'<M8[s]'", "'zz'", "'<c8', 'x': 1",
    "__import__('os')",
)  # fmt: skip


def npy_header(path: Path, generator: np.random.Generator) -> Expected:
    """The header's dictionary with another shape, type or order, or broken."""
    data = path.read_bytes()
    length = struct.unpack_from("<H", data, 8)[0]
    header, rest = data[10 : 10 + length].decode("latin1"), data[10 + length :]
    kind = int(generator.integers(5))
    if kind < 2:
        header = header.replace(header[header.index("(") : header.index(")") + 1], str(pick(generator, _SHAPES)))
    elif kind == 2:
        header = header.replace("'<c8'", str(pick(generator, _TYPES)))
    elif kind == 3:
        header = str(
            pick(generator, ["{", "", "\x00", "{'descr': '<c8'", "'''", "# \\", "lambda: 0", header.replace("'", "")])
        )
    else:
        return bytes_anywhere(path, generator)
    path.write_bytes(data[:8] + struct.pack("<H", len(header)) + header.encode("latin1") + rest)
    return "any"


NPY = (*(Mutation("header", npy_header),) * 3, *BYTES)


def mat_bomb(path: Path, generator: np.random.Generator) -> Expected:
    """A compressed variable of gigabytes."""
    data = path.read_bytes()[:128]
    rows = int(generator.integers(1 << 27, 1 << 28))
    sizes = struct.pack("<II8s", 6, 8, struct.pack("<BBHI", 6, 8, 0, 0)) + struct.pack("<IIii", 5, 8, rows, 1)
    name = struct.pack("<HH4s", 1, 4, b"ksp\0")
    inner = sizes + name + struct.pack("<II", 7, rows * 4)
    body = struct.pack("<II", 14, len(inner) + 2 * (rows * 4 + 8)) + inner
    packed = zlib_stream(body, 2 * rows * 4 // PIECE if generator.random() < 0.5 else 1)
    path.write_bytes(data + struct.pack("<II", 15, len(packed)) + packed)
    return "refusal"


MAT5 = (*BYTES, *BYTES[:1] * 2, Mutation("bomb", mat_bomb))


def rezipped(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """The archive with the content of its members changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), change(name, data), zipfile.ZIP_DEFLATED)


def zip_member(path: Path, generator: np.random.Generator) -> Expected:
    """One member damaged, renamed or of another declared size."""
    with zipfile.ZipFile(path) as archive:
        chosen = str(pick(generator, archive.namelist()))
    temporary = path.with_name("member.npy")

    def damage(name: str, data: bytes) -> bytes:
        if name != chosen:
            return data
        temporary.write_bytes(data)
        (npy_header if data[:6] == b"\x93NUMPY" else bytes_anywhere)(temporary, generator)
        changed = temporary.read_bytes()
        temporary.unlink()
        return changed

    rezipped(path, damage)
    return "any"


def zip_bomb(path: Path, generator: np.random.Generator) -> Expected:
    """A member that unpacks to gigabytes of zeros, with a header that says so."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pieces, start = int(generator.integers(16, 33)), b""
    chosen = str(pick(generator, list(members)))
    if chosen.endswith(".npy"):
        shape = (1, pieces * PIECE >> 20, 1024, 1024)
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    write_zip(path, members, chosen, start, pieces)
    return "any"


NPZ = (*BYTES, Mutation("member", zip_member), Mutation("member", zip_member), Mutation("bomb", zip_bomb))
XLSX = (*BYTES, Mutation("member", zip_member), Mutation("member", zip_member), Mutation("bomb", zip_bomb))

# ---------------------------------------------------------------- weights


def safetensors_header(path: Path, generator: np.random.Generator) -> Expected:
    """The JSON header changed, or its declared length."""
    from tests.fuzzing.text_mutations import json_text_changed

    data = path.read_bytes()
    length = struct.unpack_from("<Q", data)[0]
    if generator.random() < 0.2:
        path.write_bytes(
            struct.pack("<Q", int(pick(generator, [0, 1, 2**63, 2**40, length + 8, length - 8]))) + data[8:]
        )  # type: ignore[call-overload]
        return "any"
    header = json_text_changed(data[8 : 8 + length].decode(), generator).encode("utf-8", "surrogatepass")
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])
    return "any"


def tensor_values(path: Path, generator: np.random.Generator) -> Expected:
    """A tensor with values that are not finite, of another shape or type, missing, or one too many."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(path)
    name = str(pick(generator, sorted(tensors)))
    kind = int(generator.integers(5))
    if kind == 0:
        tensors[name].reshape(-1)[0] = pick(generator, [np.nan, np.inf])
    elif kind == 1:
        tensors[name] = tensors[name].reshape(-1)[:-1].copy() if tensors[name].size > 1 else np.zeros(3, np.float16)
    elif kind == 2:
        tensors[name] = np.zeros(tensors[name].shape, np.int8)
    elif kind == 3:
        del tensors[name]
    else:
        tensors["of.somebody.else"] = np.zeros(3, np.float32)
    save_file(tensors, path)
    return "refusal"


SAFETENSORS = (
    Mutation("header", safetensors_header),
    Mutation("header", safetensors_header),
    Mutation("values", tensor_values),
)


class _Runs:
    """An object whose unpickling would run something."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('unpickled')",))


def pickled(path: Path, generator: np.random.Generator) -> Expected:
    """Objects that are no tensors, or a compressed member of gigabytes."""
    import torch

    kind = int(generator.integers(4))
    if kind == 3:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        write_zip(path, members, next(name for name in members if name.endswith("/data/0")), b"", 16)
        return "any"
    odd: list[object] = [
        {"a": _Runs()},
        [1, 2],
        5,
        {"a": "text"},
        {5: torch.zeros(2)},
        {"a": torch.full((3,), float("nan"))},
        {},
    ]
    torch.save(pick(generator, odd), path)
    return "refusal"


PICKLED = (Mutation("objects", pickled), *BYTES)

"""Structure-aware changes of HDF5: datasets, groups, links, attributes."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.fuzzing.bombs import PIECE, compressed_piece
from tests.fuzzing.mutation import Change, Expected, Mutation, pick

NUMBERS = (0, 5, -1, 1.5, float("nan"), float("inf"), -float("inf"), 1e300, 1e-300, 2**63 - 1, -(2**31), True, 1e38)
TEXTS = ("", "abc", "NaN", "-1", "1e400", "0x10", "\u202etxt", "{", "null", "a" * 70_000)
_KINDS = ("i1", "i8", "u8", "f2", "f4", "f8", "c8", "c16", ">c8", ">f8", "S3", "V5", "?")


def objects(file: h5py.File) -> list[str]:
    """Every group and dataset but the root, in a fixed order."""
    found: list[str] = []
    file.visit(found.append)
    return sorted(found)


def odd_values(generator: np.random.Generator) -> Any:
    """Something that an attribute or a dataset may hold in HDF5, and that hardly any reader waits for."""
    kind = int(generator.integers(8))
    if kind < 2:
        return pick(generator, NUMBERS)
    if kind == 2:
        return pick(generator, TEXTS)
    if kind == 3:
        return np.bytes_(b"\xff\xfe\x80")
    if kind == 4:
        shape = tuple(int(size) for size in generator.integers(0, 5, size=int(generator.integers(1, 5))))
        return np.full(shape, pick(generator, NUMBERS), float)
    if kind == 5:
        return h5py.Empty("f4")
    if kind == 6:
        return np.zeros(int(generator.integers(1, 3)), [("a", "f4"), ("b", "i8")])
    return np.array([str(word) for word in (pick(generator, TEXTS), pick(generator, TEXTS))], dtype=object)


def replaced(path: Path, generator: np.random.Generator) -> Expected:
    """A dataset or group deleted, or replaced by another kind of thing."""
    with h5py.File(path, "r+") as file:
        name = str(pick(generator, objects(file)))
        attributes = dict(file[name].attrs)
        del file[name]
        kind = int(generator.integers(6))
        if kind == 0:
            file.create_group(name)
        elif kind == 1:
            file[name] = h5py.SoftLink(str(pick(generator, ["/", "/nowhere", f"/{name}", "/kspace"])))
        elif kind == 2:
            file[name] = np.dtype("f4")
        elif kind == 3:
            value = odd_values(generator)
            file.create_dataset(name, data=value, dtype=h5py.string_dtype() if _texts(value) else None)
        elif kind == 4:
            file.create_dataset(name, data=h5py.Empty("f4"))
        if kind in (0, 3, 4):
            for key, value in attributes.items():
                file[name].attrs[key] = value
    return "any"


def _texts(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == object


def _random_dataset(file: h5py.File, generator: np.random.Generator) -> str:
    return str(pick(generator, [name for name in objects(file) if isinstance(file[name], h5py.Dataset)]))


def reshaped(path: Path, generator: np.random.Generator) -> Expected:
    """A dataset of other axes, other type or other layout, with as many of its values as fit."""
    with h5py.File(path, "r+") as file:
        name = _random_dataset(file, generator)
        values = file[name][()]
        attributes = dict(file[name].attrs)
        kind = int(generator.integers(7))
        if not isinstance(values, np.ndarray) or values.dtype.hasobject or values.dtype.names:
            values, kind = np.zeros((2, 3), np.complex64), 0
        options: dict[str, Any] = {}
        if kind == 0:
            values = values[None] if generator.random() < 0.5 else values.reshape(-1)
        elif kind == 1 and values.ndim:
            values = values.transpose(generator.permutation(values.ndim))
        elif kind == 2 and values.ndim:
            axis = int(generator.integers(values.ndim))
            values = values.take(range(int(generator.integers(0, values.shape[axis]))), axis)
        elif kind == 3:
            with np.errstate(all="ignore"):
                values = values.astype(str(pick(generator, _KINDS)))
        elif kind == 4 and values.ndim:
            options = {"chunks": True, "compression": "gzip", "shuffle": True, "fletcher32": True}
        elif kind == 5 and values.ndim:
            values = np.repeat(values, 2, axis=int(generator.integers(values.ndim)))
        elif kind == 6:
            values = values[(0,) * max(values.ndim - 1, 0)]
        del file[name]
        file.create_dataset(name, data=values, **options)
        for key, value in attributes.items():
            file[name].attrs[key] = value
    return "same" if kind == 4 else "any"


def values_changed(path: Path, generator: np.random.Generator) -> Expected:
    """Some values of a dataset of numbers become NaN, infinite, huge or tiny."""
    with h5py.File(path, "r+") as file:
        name = _random_dataset(file, generator)
        dataset = file[name]
        if dataset.dtype.kind not in "fciub" or not dataset.size:
            return "any"
        values = np.array(dataset[()])
        flat = values.reshape(-1)
        places = generator.integers(flat.size, size=int(2 ** generator.uniform(0, np.log2(flat.size + 1))))
        bad = float(pick(generator, [np.nan, np.inf, -np.inf, 1e30, 1e-30, -1.0, 0.0]))  # type: ignore[arg-type]
        with np.errstate(all="ignore"):
            flat[places] = np.asarray(bad).astype(values.dtype)
        dataset[...] = values
        finite = np.isfinite(bad) or values.dtype.kind in "iub"
    # Sampled values that are not finite have no right reading, wherever they stand in a part that is read.
    return "refusal" if not finite and name in ("kspace", "reconstruction", "image", "pooled", "recon/noise") else "any"


def declared_sizes(path: Path, generator: np.random.Generator) -> Expected:
    """A dataset of a size that nothing holds, or that a few bytes unpack to."""
    with h5py.File(path, "r+") as file:
        name = _random_dataset(file, generator)
        old = file[name]
        dtype = old.dtype if old.dtype.kind in "fciubS" else np.dtype("S1")
        attributes, rank = dict(old.attrs), max(old.ndim, 1)
        del file[name]
        if generator.random() < 0.5:
            shape = (1 << int(generator.integers(28, 41)), *[1 << int(generator.integers(0, 4))] * (rank - 1))
            file.create_dataset(name, shape, dtype, chunks=tuple(min(size, 16) for size in shape))
        else:
            kind = np.dtype("S1") if dtype.kind == "S" else dtype
            width = PIECE // kind.itemsize
            count = int(generator.integers(16, 33))  # one to two gigabytes in some two megabytes
            shape, chunk = ((1,) * (rank - 1) + (count * width,)), ((1,) * (rank - 1) + (width,))
            bomb = file.create_dataset(name, shape, kind, chunks=chunk, compression="gzip")
            for index in range(count):
                bomb.id.write_direct_chunk((0,) * (rank - 1) + (index * width,), compressed_piece())
        for key, value in attributes.items():
            file[name].attrs[key] = value
    return "any"


def text_bomb(path: Path, generator: np.random.Generator) -> Expected:
    """A text of gigabytes, of which all but a few bytes are zeros."""
    with h5py.File(path, "r+") as file:
        texts = [
            name for name in objects(file) if isinstance(file[name], h5py.Dataset) and file[name].dtype.kind in "OS"
        ]
        name = str(pick(generator, texts)) if texts else "ismrmrd_header"
        if name in file:
            del file[name]
        bomb = file.create_dataset(name, (32,), f"S{PIECE}", chunks=(1,), compression="gzip")
        for index in range(32):
            bomb.id.write_direct_chunk((index,), compressed_piece())
    return "any"


def elsewhere(path: Path, generator: np.random.Generator) -> Expected:
    """A dataset that lies in another file, by link, external storage or a virtual dataset; or a circle of groups."""
    kind = int(generator.integers(4))
    other = path.with_name(f"{path.stem}_elsewhere.bin")
    with h5py.File(path, "r+") as file:
        name = _random_dataset(file, generator)
        shape, dtype = file[name].shape, file[name].dtype
        if kind == 3 or shape is None or dtype.kind not in "fciub" or not file[name].size:
            file.create_group("circle")["back"] = file["/"]
            return "same"
        other.write_bytes(np.asarray(file[name][()]).tobytes())
        del file[name]
        if kind == 0:
            file[name] = h5py.ExternalLink(other.name, f"/{name}")
        elif kind == 1:
            file.create_dataset(name, shape, dtype, external=[(str(other), 0, h5py.h5f.UNLIMITED)])
        else:
            layout = h5py.VirtualLayout(shape or (1,), dtype)
            layout[...] = h5py.VirtualSource(other.name, name, shape or (1,))
            file.create_virtual_dataset(name, layout)
    return "refusal"


def added(path: Path, generator: np.random.Generator) -> Expected:
    """Groups, datasets and attributes that no reader knows."""
    with h5py.File(path, "r+") as file:
        file.create_dataset(f"zz_{generator.integers(1000)}/inner", data=generator.normal(size=(4, 5)))
        file.attrs[f"zz_{generator.integers(1000)}"] = "of somebody else"
    return "same"


def attributes(known: tuple[tuple[str, str], ...]) -> Change:
    """One of the ``known`` attributes (group, name), or another that is there, gets an odd value or goes."""

    def change(path: Path, generator: np.random.Generator) -> Expected:
        with h5py.File(path, "r+") as file:
            there = [("/", key) for key in file.attrs]
            there += [(name, key) for name in objects(file) for key in file[name].attrs]
            group, key = pick(generator, sorted({*known, *there}))  # type: ignore[misc]
            holder = file.require_group(group) if group not in file else file[group]
            if key in holder.attrs and generator.random() < 0.15:
                del holder.attrs[key]
                return "any"
            value = odd_values(generator)
            if generator.random() < 0.25 and isinstance(holder.attrs.get(key), np.ndarray):
                value = np.array(holder.attrs[key])
                flat = value.reshape(-1)
                if value.dtype.kind in "fc" and flat.size:
                    flat[int(generator.integers(flat.size))] = pick(generator, NUMBERS)
            try:
                if isinstance(value, np.ndarray) and value.dtype == object:
                    holder.attrs.create(key, value, dtype=h5py.string_dtype())
                else:
                    holder.attrs[key] = value
            except (OSError, RuntimeError, ValueError, TypeError):  # too long for an attribute of this file
                holder.attrs[key] = 5
        return "any"

    return change


STRUCTURE = (
    Mutation("replaced", replaced),
    Mutation("reshaped", reshaped),
    Mutation("values", values_changed),
    Mutation("declared sizes", declared_sizes),
    Mutation("text bomb", text_bomb),
    Mutation("elsewhere", elsewhere),
    Mutation("added", added),
)

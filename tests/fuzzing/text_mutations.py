"""Changes of XML, JSON, YAML and tables that know what a number, a key, a row and a cell are."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.fuzzing.mutation import Change, Expected, pick

NUMBERS = (
    "inf",
    "-inf",
    "nan",
    "1e400",
    "1e18",
    "-1",
    "0",
    "1e-30",
    "",
    "abc",
    "9" * 5000,
    "0x10",
    "1,5",
    "1e300",
    "٣",
)
JSON_VALUES: tuple[Any, ...] = (
    None, 5, -1, 0, 1.5, 1e300, True, "", "abc", [], {}, [1, [2]], {"a": 1}, 2**64 - 1, -(2**63), "\ud800", [None] * 3,
    float("nan"), float("inf"), "NaN", 99,
)  # fmt: skip
YAML_VALUES = (
    "2020-01-01", "0x_", "!!int abc", "9" * 5000, ".nan", ".inf", "-.inf", "-3", "1e300", str(2**64 - 1), "~", "[]",
    "{}", "[1, [2, [3]]]", "!!python/object:os.system x", "!!binary gg", "*nothing", "&a [*a]", '"\\ud800"',
    "? [1]", "no", "0b2", "1:60:60", "@", "!!timestamp x", "!!set {a}", "!!float abc", "1e-300", "0", "2001-99-99",
)  # fmt: skip
CELLS = (
    "", "NaN", "inf", "-1", "1e400", "9" * 5000, "x" * 140_000, "\x00", '"', "'=1+1", "=1+1", "\ud7ff", "5.5", "1e18",
    "٣", "\u00a0", "\ufeff", "a,b", "a\nb",
)  # fmt: skip


def xml_changed(text: str, generator: np.random.Generator) -> str:
    """An ISMRMRD header with one thing wrong."""
    elements = list(re.finditer(r"<(\w+)[^<>]*>([^<>]*)</\1>", text))
    kind = int(generator.integers(9))
    if kind < 5 and elements:
        found: Any = pick(generator, elements)
        return text[: found.start(2)] + str(pick(generator, NUMBERS)) + text[found.end(2) :]
    if kind == 5 and elements:
        found = pick(generator, elements)
        again = found.group(0) if generator.random() < 0.5 else ""
        return text[: found.start()] + again + text[found.start() if again else found.end() :]
    if kind == 6:
        start = int(generator.integers(len(text)))
        return text[:start] + text[start + int(generator.integers(1, 40)) :]
    if kind == 7:
        depth = int(2 ** generator.uniform(1, 17))
        return text.replace("</ismrmrdHeader>", "<a>" * depth + "</a>" * depth + "</ismrmrdHeader>")
    tricks = (
        '<!DOCTYPE a [<!ENTITY b "c">]>' + text, "", "<a/>", "<?xml version='1.0' encoding='utf-16'?>" + text,
        text.replace("<encoding>", "<encoding><encoding>", 1), "\x00" + text, text.upper(), text * 2,
    )  # fmt: skip
    return str(pick(generator, tricks))


def xml_in(name: str) -> Change:
    """The XML in a dataset of an HDF5 file changed."""

    def change(path: Path, generator: np.random.Generator) -> Expected:
        with h5py.File(path, "r+") as file:
            stored = np.asarray(file[name][()]).reshape(-1)[0]
            text = stored.decode() if isinstance(stored, bytes) else str(stored)
            changed = xml_changed(text, generator).replace("\x00", "")
            shape = file[name].shape
            del file[name]
            data = np.full(shape, changed, object) if shape else changed
            file.create_dataset(name, data=data, dtype=h5py.string_dtype())
        return "any"

    return change


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [way] if way else []
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        found += _places(entry, (*way, key))
    return found


def json_value_changed(value: Any, generator: np.random.Generator) -> Any:
    """A JSON value with one entry replaced, removed, doubled or renamed; or another value altogether."""
    places = _places(value)
    if not places or generator.random() < 0.05:
        return pick(generator, JSON_VALUES)
    *way, last = pick(generator, places)  # type: ignore[misc]
    holder = value
    for key in way:
        holder = holder[key]
    kind = int(generator.integers(6))
    if kind < 3:
        holder[last] = pick(generator, JSON_VALUES)
    elif kind == 3:
        del holder[last]
    elif kind == 4 and isinstance(holder, dict):
        holder[f"{last}_"] = holder.pop(last)
    elif isinstance(holder, list):
        holder.insert(int(generator.integers(len(holder) + 1)), holder[last])
    elif isinstance(holder[last], (int, float)) and not isinstance(holder[last], bool):
        holder[last] = -holder[last]
    else:
        holder[last] = [holder[last]]
    return value


def json_text_changed(text: str, generator: np.random.Generator) -> str:
    """A JSON text changed in its values, or broken as text."""
    kind = int(generator.integers(8))
    if kind < 6:
        return json.dumps(json_value_changed(json.loads(text), generator))
    if kind == 6:
        deep = int(2 ** generator.uniform(4, 17))
        return "[" * deep + "]" * deep
    start = int(generator.integers(len(text)))
    return text[:start] + text[start + int(generator.integers(1, 20)) :]


def json_file(path: Path, generator: np.random.Generator) -> Expected:
    """A JSON file changed."""
    path.write_text(json_text_changed(path.read_text("utf-8"), generator), "utf-8", errors="surrogatepass")
    return "any"


def yaml_file(path: Path, generator: np.random.Generator) -> Expected:
    """One value of a YAML file replaced, a line removed, doubled or indented; or bombs of anchors and brackets."""
    lines = path.read_text("utf-8").splitlines()
    kind = int(generator.integers(10))
    valued = [number for number, line in enumerate(lines) if re.match(r"[\s-]*\w+: *\S", line)]
    number = int(pick(generator, valued))  # type: ignore[call-overload]
    if kind < 5:
        lines[number] = re.sub(r":.*", lambda _: f": {pick(generator, YAML_VALUES)}", lines[number], count=1)
    elif kind == 5:
        del lines[number]
    elif kind == 6:
        lines.insert(number, lines[number])
    elif kind == 7:
        line = lines[number]
        lines[number] = str(pick(generator, [f"  {line}", f"\t{line}", line.replace(":", "")]))
    elif kind == 8:
        depth = int(generator.integers(10, 28))
        bomb = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, depth))]
        key = lines[number].split(":")[0].strip(" -")
        inline = "[x]"
        for level in range(depth):
            inline = f"[&b{level} {inline}, *b{level}]"
        if generator.random() < 0.3:
            lines = [*bomb, *lines]
        else:
            lines[number] = f"{key}: {inline}"
    else:
        bracket = str(pick(generator, ["[", "{a: ", "- ", "? "]))
        key = lines[number].split(":")[0]
        lines[number] = f"{key}: {bracket * int(2 ** generator.uniform(4, 13))}"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return "any"


def _rows(change: Callable[[list[str], np.random.Generator], list[str]]) -> Change:
    def changed(path: Path, generator: np.random.Generator) -> Expected:
        text = path.read_text("utf-8")
        path.write_text("\n".join(change(text.splitlines(), generator)) + "\n", "utf-8", errors="surrogatepass")
        return "any"

    return changed


def _cells(lines: list[str], generator: np.random.Generator) -> list[str]:
    kind = int(generator.integers(7))
    number = int(generator.integers(len(lines)))
    cells = lines[number].split(",")
    if kind < 4:
        cells[int(generator.integers(len(cells)))] = str(pick(generator, CELLS))
        lines[number] = ",".join(cells)
    elif kind == 4:
        del lines[number]
    elif kind == 5:
        lines.insert(number, lines[number])
    else:
        lines[number] = str(pick(generator, [lines[number] + ",extra", ",".join(cells[:-1]), lines[number] + '"', ""]))
    return lines


table_file = _rows(_cells)

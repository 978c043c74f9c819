"""YAML configuration checked into frozen dataclasses, with one clear error for a wrong key."""

import dataclasses
import difflib
import functools
import math
import reprlib
import types
import typing
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml

from recon.errors import ReconError

Config = TypeVar("Config")


LARGEST = 1_000_000  # bytes of a file, and values in it once its aliases stand for what they repeat
_shown = reprlib.Repr()  # values in messages: some could be printed for minutes
_shown.maxlevel, _shown.maxstring, _shown.maxother, _shown.maxlong = 2, 80, 80, 40


class _UniqueKeys(yaml.SafeLoader):
    """YAML's safe loader, which would silently keep the last of two equal keys, made to refuse them; and to refuse
    aliases that repeat each other into more values than any configuration has, or that contain themselves."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _size(node, {}) > LARGEST:
            raise yaml.constructor.ConstructorError(problem="aliases (*) repeat more values than a configuration has")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.constructor.ConstructorError(problem=f"key '{key}' is there twice")
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for; ``known``: by the identity of nodes, 0 while their entries are counted."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise yaml.constructor.ConstructorError(problem="an alias (*) stands inside of what it repeats")
        return known[id(node)]
    known[id(node)] = 0
    entries = node.value if isinstance(node, yaml.CollectionNode) else []
    parts = [part for entry in entries for part in (entry if isinstance(entry, tuple) else (entry,))]
    known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def find_recipe(name_or_path: str | Path) -> Path:
    """The YAML file for a path, or for the name of a recipe that comes with the toolkit (``fastmri-brain``).

    Raises ReconError when there is neither, naming the recipes that exist.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    installed = Path(str(resources.files("recon"))) / "configs"
    folder = installed if installed.is_dir() else Path(str(resources.files("recon"))).parent / "configs"
    recipe = folder / f"{path.name}.yaml"
    if path.name == str(name_or_path) and recipe.is_file():
        return recipe
    names = ", ".join(sorted(entry.stem for entry in folder.glob("*.yaml"))) or "none"
    raise ReconError(f"{name_or_path}: no such file or recipe; recipes that come with recon: {names}")


def load_config(kind: type[Config], source: str | Path | None, overrides: dict[str, Any] | None = None) -> Config:
    """Read ``source`` (a YAML file, a recipe name, or None for defaults) into the dataclass ``kind``.

    ``overrides`` are command-line values; a value of None means that the flag was not given. Every key must be
    a field and every value of its type; nested dataclasses are nested mappings.

    Raises ReconError naming the file, the key and what is expected.
    """
    values: dict[str, Any] = {}
    where = "command line"
    if source is not None:
        path = find_recipe(source)
        where = str(path)
        loaded = _read_yaml(path)
        if loaded is not None and not isinstance(loaded, dict):
            raise ReconError(f"{path}: expected 'key: value' lines, found {type(loaded).__name__}")
        values = dict(loaded or {})
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    values.update(given)
    if source is not None and given:
        where = f"{where} and command line"
    return from_mapping(kind, values, where)


def _read_yaml(path: Path) -> Any:
    try:
        if path.stat().st_size > LARGEST:
            raise ReconError(f"{path}: larger than {LARGEST} bytes; not a configuration")
        return yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    # PyYAML lets through what int(), float() and datetime say of values, and too deep a nesting.
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        said = " ".join(str(error).split())[:300]
        raise ReconError(f"{path}: not readable as YAML ({said})") from error


def from_mapping(kind: type[Config], values: dict[str, Any], where: str) -> Config:
    """Build the dataclass ``kind`` from a mapping; errors name ``where`` and the key. See ``load_config``."""
    if not isinstance(values, dict):
        raise ReconError(f"{where}: expected keys with values, found {type(values).__name__}")
    hints = _hints(kind)  # type: ignore[arg-type]
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(fields)}"
            raise ReconError(f"{where}: unknown key '{' '.join(str(key).split())[:80]}'; {hint}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ReconError(f"{where}: key '{name}' is missing")
    converted = {key: _convert(hints[key], value, where, str(key)) for key, value in values.items()}
    try:
        return kind(**converted)
    except ValueError as error:  # a dataclass's own __post_init__ check
        raise ReconError(f"{where}: {error}") from error


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _convert(hint: Any, value: Any, where: str, key: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        for option in options:
            if dataclasses.is_dataclass(option) and isinstance(value, dict):
                return _convert(option, value, where, key)  # what is wrong in it is the better message
            if option is not type(None):
                try:
                    return _convert(option, value, where, key)
                except ReconError:
                    continue
        raise ReconError(f"{where}: key '{key}' is {_shown.repr(value)}, expected {hint}")
    if origin is typing.Literal:
        if value in typing.get_args(hint):
            return value
        known = ", ".join(map(str, typing.get_args(hint)))
        raise ReconError(f"{where}: key '{key}' is {_shown.repr(value)}, expected one of {known}")
    if dataclasses.is_dataclass(hint):
        if isinstance(value, dict):
            return from_mapping(typing.cast(type, hint), value, f"{where}, {key}")
        raise ReconError(f"{where}: key '{key}' must be a mapping")
    if origin is tuple and isinstance(value, (list, tuple)):
        arguments = typing.get_args(hint)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(arguments[0], entry, where, f"{key}[{i}]") for i, entry in enumerate(value))
        if len(arguments) == len(value):
            return tuple(
                _convert(a, entry, where, f"{key}[{i}]")
                for i, (a, entry) in enumerate(zip(arguments, value, strict=True))
            )
    if origin is dict and isinstance(value, dict):
        inner = typing.get_args(hint)[1]
        return {_convert(str, str(k), where, key): _convert(inner, v, where, f"{key}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)  # YAML 1.1 reads 1e-4 as text
        except (ValueError, OverflowError):
            pass
        else:
            if math.isfinite(number):
                return number
            raise ReconError(f"{where}: key '{key}' is {_shown.repr(value)}, expected a finite float")
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str):
        if not value.isascii() and any(
            "\ud800" <= letter <= "\udfff" for letter in value
        ):  # half of a character: no file can hold it
            raise ReconError(f"{where}: key '{key}' is {_shown.repr(value)}, which is no text")
        return value
    if hint is Any:
        return value
    expected = getattr(hint, "__name__", str(hint))
    raise ReconError(f"{where}: key '{key}' is {_shown.repr(value)}, expected {expected}")

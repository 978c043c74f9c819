"""YAML and JSON from anywhere: values of other kinds, bombs of aliases, and nesting end in one line."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recon.configuration import from_mapping, load_config
from recon.errors import ReconError
from recon.foreign.json_file import read_json


@dataclass(frozen=True)
class Options:
    seed: int = 0
    weight: float = 1.0
    name: str = ""
    words: tuple[str, ...] = ()
    more: dict[str, str] = field(default_factory=dict)


BOMB = "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 28)), "seed: *a27"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "aliases"),
        ("seed: &a [*a]", "alias"),
        ("seed: 2001-99-99", "not readable as YAML"),
        ("seed: 2020-01-01", "key 'seed' is datetime.date"),
        ("seed: 0x_", "not readable as YAML"),
        ("seed: !!int abc", "not readable as YAML"),
        ("seed: " + "9" * 5000, "not readable as YAML"),
        ("seed: !!binary gg", "not readable as YAML"),
        ("seed: " + "[" * 3000, "not readable as YAML"),
        ("seed: [[[[[[[[1]]]]]]]]", r"key .seed. is \[\[\[\.\.\.\]\]\]"),
        ("weight: .nan", "expected a finite float"),
        ("weight: 1e400", "expected a finite float"),
        ('name: "\\ud800"', "which is no text"),
        ('more: {"\\ud800": a}', "which is no text"),
        ("? [1]\n: 2", "not readable as YAML|unknown key"),
    ],
)
def test_yaml(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text, "utf-8")
    began = time.process_time()
    with pytest.raises(ReconError, match=words) as refusal:
        load_config(Options, path)
    assert str(path) in str(refusal.value)
    assert len(str(refusal.value)) < 1000
    assert time.process_time() - began < 5


def test_aliases_of_ordinary_size_are_read(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text("words: &a [x, y]\nmore: {z: w}\n", "utf-8")
    assert load_config(Options, path).words == ("x", "y")
    path.write_text("name: &n liver\nwords: [*n, *n]\n", "utf-8")
    assert load_config(Options, path).words == ("liver", "liver")


@pytest.mark.parametrize("values", [5, None, [], "text"])
def test_what_is_no_mapping(values: Any) -> None:
    with pytest.raises(ReconError, match="somewhere: expected keys with values"):
        from_mapping(Options, values, "somewhere")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "recursion"),
        ("9" * 5000, "not readable"),
        ("null", "expected a JSON object"),
        ("\x00", "not readable"),
    ],
)
def test_json(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ReconError, match=words) as refusal:
        read_json(path)
    assert str(path) in str(refusal.value)

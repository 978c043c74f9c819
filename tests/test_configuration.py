"""Configuration: every wrong key or value is one error that names the file, the key and what is expected."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.configuration import find_recipe, from_mapping, load_config
from recon.errors import ReconError


@dataclass(frozen=True)
class Network:
    width: int = 32
    dropout: float = 0.0


@dataclass(frozen=True)
class Training:
    steps: int
    rate: float = 1e-4
    device: Literal["cpu", "cuda"] = "cpu"
    resume: bool = False
    contrasts: tuple[str, ...] = ("T1", "T2")
    size: tuple[int, int] = (320, 320)
    limit: float | None = None
    weights: dict[str, float] = field(default_factory=dict)
    network: Network = Network()

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError("steps must be at least 1")


def load(tmp_path, text: str, **overrides: Any) -> Training:
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    return load_config(Training, tmp_path / "run.yaml", overrides)


def test_values_of_every_kind(tmp_path):
    text = """
    steps: 10
    rate: 1e-3
    device: cuda
    resume: true
    contrasts: [FLAIR]
    size: [256, 320]
    limit: 5
    weights: {FLAIR: 2}
    network: {width: 64}
    """
    expected = Training(10, 1e-3, "cuda", True, ("FLAIR",), (256, 320), 5.0, {"FLAIR": 2.0}, Network(64))
    found = load(tmp_path, text)
    assert found == expected
    assert isinstance(found.limit, float)


def test_flags_override_and_flags_not_given_do_not(tmp_path):
    assert load(tmp_path, "steps: 10", steps=20, rate=None) == Training(20)
    assert load_config(Training, None, {"steps": 3}) == Training(3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps: 1\nrat: 3", "unknown key 'rat'; did you mean 'rate'"),
        ("steps: 1\nzzz: 3", "unknown key 'zzz'; known keys: steps"),
        ("rate: 1", "key 'steps' is missing"),
        ("steps: many", "key 'steps' is 'many', expected int"),
        ("steps: 1.5", "key 'steps' is 1.5, expected int"),
        ("steps: true", "key 'steps' is True, expected int"),
        ("steps: 1\nrate: fast", "key 'rate' is 'fast', expected float"),
        ("steps: 1\nresume: 1", "key 'resume' is 1, expected bool"),
        ("steps: 1\ndevice: tpu", "key 'device' is 'tpu', expected one of cpu, cuda"),
        ("steps: 1\nsize: [1, 2, 3]", "key 'size'"),
        ("steps: 1\ncontrasts: T1", "key 'contrasts' is 'T1', expected"),
        ("steps: 1\ncontrasts: [3]", r"key 'contrasts\[0\]' is 3, expected str"),
        ("steps: 1\nlimit: none", "key 'limit' is 'none', expected"),
        ("steps: 1\nweights: {T1: x}", r"key 'weights\.T1' is 'x', expected float"),
        ("steps: 1\nnetwork: {widht: 3}", "network: unknown key 'widht'; did you mean 'width'"),
        ("steps: 1\nnetwork: 3", "key 'network' must be a mapping"),
        ("steps: 0", "steps must be at least 1"),
        ("- steps", "expected 'key: value' lines, found list"),
        ("steps: [1", "not readable as YAML"),
        ("steps: !!python/object/apply:os.system ['true']", "not readable as YAML"),
        ("1: 2\nsteps: 1", "unknown key '1'"),
        ("steps: .nan", "key 'steps' is nan, expected int"),
        ("steps: 1\nrate: .inf", "key 'rate' is inf, expected a finite float"),
        ("steps: 1\nsteps: 2", "key 'steps' .* twice"),
    ],
)
def test_a_wrong_key_or_value_names_file_and_key(tmp_path, text, words):
    with pytest.raises(ReconError, match=words) as caught:
        load(tmp_path, text)
    assert "run.yaml" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_empty_file_is_the_defaults(tmp_path):
    with pytest.raises(ReconError, match="'steps' is missing"):
        load(tmp_path, "")
    assert load(tmp_path, "# nothing yet\n", steps=1) == Training(1)


def test_missing_files_name_the_recipes(tmp_path):
    with pytest.raises(ReconError, match="no such file or recipe; recipes that come with recon"):
        find_recipe(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes("steps: 1 # \xe9".encode("latin-1"))
    with pytest.raises(ReconError, match="not readable as YAML"):
        load_config(Training, tmp_path / "latin.yaml")


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["steps", "rate", "device", "resume", "contrasts", "size", "limit", "weights", "network", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
            max_leaves=5,
        ),
    )
)
def test_any_mapping_is_accepted_or_refused_with_our_error(values):
    try:
        found = from_mapping(Training, values, "run.yaml")
    except ReconError:
        return
    assert found.steps >= 1
    assert isinstance(found.rate, float)
    assert isinstance(found.size, tuple)
    assert isinstance(found.network, Network)

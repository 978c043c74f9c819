"""Options declared once: flags, YAML keys, defaults and help come from one dataclass."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
import typer
from typer.testing import CliRunner

from cli.options import Given, with_options
from recon.configuration import load_config
from recon.errors import ReconError
from recon.options import check_minimums, option


def minutes(text: str) -> float:
    if not text.endswith("m"):
        raise ReconError(f"'{text}' is not a duration")
    return 60 * float(text[:-1])


@dataclass(frozen=True)
class Inner:
    depth: int = 3


@dataclass(frozen=True)
class Toy:
    method: Literal["sense", "l1-wavelet"] = option("sense", "How to reconstruct.")
    coils: int = option(16, "Virtual coils.", minimum=1)
    sigma_max: float | None = option(None, "Noise level to start from. Without it: by acceleration.")
    keep_samples: bool = option(False, "Store every sample.")
    check: bool = option(True, "Check the data.")
    rates: tuple[float, ...] = option((1.0, 0.3), "Factors of the learning rate.")
    matrix: tuple[int, int] = option((96, 80), "Readout and phase.")
    seconds: float | None = option(None, "Time to spend.", flag="--budget", metavar="TIME", read=minutes)
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        check_minimums(self)


@dataclass(frozen=True)
class Other:
    coils: int = option(8, "Other coils.")
    name: str = option("", "A name.")


def run(*words: str, kinds: tuple[type, ...] = (Toy,), **settings):
    """The exit code, what was printed, and the ``Given`` of a toy command."""
    app, seen = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False), []

    @app.command()
    @with_options(*kinds, **settings)
    def toy(
        scan: Annotated[str, typer.Argument(help="A scan.")],
        given: Given,
        config: Annotated[str | None, typer.Option(help="YAML file.")] = None,
    ) -> None:
        """A toy."""
        seen.append((scan, given, config))

    outcome = CliRunner(env={"COLUMNS": "200"}).invoke(app, list(words))
    return outcome.exit_code, outcome.output, seen


def test_what_was_not_given_is_absent():
    assert run("a.h5") == (0, "", [("a.h5", {}, None)])


def test_values_have_the_types_of_the_fields():
    words = ("a.h5", "--method", "l1-wavelet", "--coils", "4", "--sigma-max", "2", "--keep-samples", "--no-check")
    _, _, [(_, given, _)] = run(*words, "--rates", "1,.5, 1e-2", "--matrix", "64,48", "--budget", "1m")
    assert given == {
        "method": "l1-wavelet", "coils": 4, "sigma_max": 2.0, "keep_samples": True, "check": False,
        "rates": (1.0, 0.5, 0.01), "matrix": (64, 48), "seconds": 60.0,
    }  # fmt: skip
    options = load_config(Toy, None, given)
    assert options.rates == (1.0, 0.5, 0.01)
    assert options.check is False


def test_flags_override_yaml_and_yaml_overrides_defaults(tmp_path):
    file = tmp_path / "toy.yaml"
    file.write_text("coils: 2\nkeep_samples: true\nrates: [2]\n")
    _, _, [(_, given, config)] = run("a.h5", "--config", str(file), "--no-keep-samples", "--rates", "3")
    options = load_config(Toy, config, given)
    assert (options.coils, options.keep_samples, options.rates, options.method) == (2, False, (3.0,), "sense")


def test_help_shows_choices_and_defaults_by_one_rule():
    code, text, _ = run("--help")
    assert code == 0
    assert "[sense|l1-wavelet]" in text
    for line in (
        "How to reconstruct. Default: sense.",
        "Virtual coils. Default: 16.",
        "Store every sample. Default: no.",
        "Factors of the learning rate. Default: 1,0.3.",
        "Readout and phase. Default: 96,80.",
        "--check / --no-check",
        "FLOAT,...",
        "INTEGER,INTEGER",
        "--budget TIME",
    ):
        assert line in text
    assert "by acceleration. Default" not in text  # None has no value to show
    assert "inner" not in text
    assert "Default" not in run("--help", show_defaults=False)[1]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--method", "magic"), "Invalid value for '--method': 'magic' is not one of sense, l1-wavelet"),
        (("--coils", "0"), "Invalid value for '--coils'"),
        (("--coils", "many"), "'--coils'"),
        (("--rates", "1,,2"), "should be FLOAT,..."),
        (("--rates", "1,fast"), "'fast' is no float"),
        (("--matrix", "96"), "should be INTEGER,INTEGER"),
        (("--budget", "soon"), "Invalid value for '--budget': 'soon' is not a duration"),
        (("--inner", "1"), "No such option"),
    ],
)
def test_a_wrong_value_is_named_with_its_flag(words, complaint):
    code, text, seen = run("a.h5", *words)
    assert (code, seen) == (2, [])
    assert complaint in text


def test_a_minimum_holds_for_yaml_too():
    with pytest.raises(ReconError, match="coils must be at least 1, not 0"):
        load_config(Toy, None, {"coils": 0})
    with pytest.raises(ValueError, match="coils"):
        Toy(coils=-1)


def test_two_dataclasses_share_a_flag_and_get_their_own_values():
    _, _, [(_, given, _)] = run("a.h5", "--coils", "3", "--name", "x", "--check", kinds=(Toy, Other))
    assert given.of(Other) == {"coils": 3, "name": "x"}
    assert given.of(Toy) == {"coils": 3, "check": True}


def test_left_out_fields_have_no_flag():
    assert "No such option" in run("a.h5", "--coils", "3", leave_out=("coils",))[1]


def test_mistakes_of_the_programmer_are_found_at_import():
    @dataclass(frozen=True)
    class Mute:
        coils: int = 3

    @dataclass(frozen=True)
    class Odd:
        value: complex = option(1j, "A number.")

    for kinds, settings, complaint in (
        ((Mute,), {}, "Mute.coils has no help"),
        ((Odd,), {}, "no flag can be made"),
        ((Toy,), {"leave_out": ("nothing",)}, "names no field: nothing"),
    ):
        with pytest.raises(TypeError, match=complaint):
            run("a.h5", kinds=kinds, **settings)
    with pytest.raises(TypeError, match="no parameter of type Given"):
        with_options(Toy)(lambda scan: None)

    def twice(coils: int, given: Given) -> None: ...

    with pytest.raises(TypeError, match="'coils' is a field, too"):
        with_options(Toy)(twice)

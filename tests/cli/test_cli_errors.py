"""A user's mistake is one line on standard error and exit code 2; nothing on standard output."""

from pathlib import Path

import pytest
import typer

import cli
from cli.main import COMMANDS, app
from tests.small_world import write_small_scan


@pytest.mark.parametrize("words", [["bogus"], ["info"], ["info", "no-such-file.h5"], ["info", "--nonsense", "x"]])
def test_mistakes_are_one_line_and_exit_two(run_cli, words):
    outcome = run_cli(*words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert len(outcome.err.strip().splitlines()) == 1
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("words", [["info", ""], ["reconstruct", "a.h5", "--out", ""], ["prepare", "a.h5", "--out="]])
def test_an_empty_word_is_not_the_working_folder(run_cli, words, tmp_path, monkeypatch):
    """What a shell makes of a variable that is not set."""
    write_small_scan(tmp_path / "a.h5")
    monkeypatch.chdir(tmp_path)
    outcome = run_cli(*words)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "recon: a word on the command line is empty: is a variable of the shell not set?\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "a.h5", "--reference", "full.h5", "--table", "full.h5"],
        ["evaluate", "a.h5", "--reference", ".", "--table", "a.h5"],
        ["encode", "map", "a.h5", "--reference", "full.h5", "--out", "full.h5", "--random-init", "1"],
        ["task", "map", "a.h5", "--model", "model", "--out", "a.h5"],
        ["probe", "embed", "labels.csv", "--out", "labels.csv"],
        ["probe", "fit", "a.h5", "--label", "x", "--out", "a.h5"],
        ["monitor", "fit", "a.h5", "full.h5", "--out", "full.h5"],
        ["monitor", "check", "a.h5", "--baseline", "b.json", "--out", "b.json"],
        ["adc", "a.nii", "b.nii", "--b-values", "0,1000", "--out", "b.nii"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_an_output_never_replaces_an_input(run_cli, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.h5", "full.h5", "labels.csv", "b.json", "a.nii", "b.nii"):
        Path(name).write_text("precious")
    outcome = run_cli(*words)
    assert outcome.code == 2
    assert "is the input itself" in outcome.err
    assert outcome.err.count("\n") == 1
    assert {path.read_text() for path in tmp_path.iterdir()} == {"precious"}


def test_the_version_is_that_of_the_package(run_cli):
    from recon.version import __version__

    outcome = run_cli("--version")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"recon {__version__}\n", "")


@pytest.mark.parametrize("words", [[], ["encode"], ["reader-study"]])
def test_nothing_to_do_shows_the_help_as_it_is(run_cli, words):
    outcome = run_cli(*words)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) > 8
    assert outcome.err.startswith("Usage: recon")


def test_a_name_that_is_nearly_right_is_recognised(run_cli):
    assert "Did you mean 'reconstruct'?" in run_cli("reconstruc").err


def test_every_module_with_commands_stands_in_the_table_and_every_command_has_help(run_cli):
    folder = Path(cli.__file__).parent
    modules = {f"cli.{path.stem}" for path in folder.glob("*.py") if "def register(app" in path.read_text()}
    assert modules == {module for _, *listed in COMMANDS.values() for module in listed}
    for name in COMMANDS:
        outcome = run_cli(name, "--help")
        assert outcome.code == 0
        assert outcome.out.startswith(f"Usage: recon {name} ")


def app_command(name):
    return typer.main.get_command(app).get_command(None, name)


def words_of(parameter):
    """What help shows of a parameter beside its name; releases of typer differ in what they make it of."""
    shown = getattr(parameter, "display_type_rich", None)
    return parameter.metavar if shown is None else shown(None)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_speaks_of_folders_and_files_not_of_python_types(name):
    """SCAN or FOLDER, not <list[Path]>: every value has a word for it."""
    command = app_command(name)
    inner = getattr(command, "commands", {name: command})
    for called, one in inner.items():
        for parameter in one.params:
            if parameter.param_type_name == "option" and not parameter.is_flag:
                assert words_of(parameter), f"{name} {called} {parameter.name}: no metavar"
                assert "<" not in words_of(parameter), f"{name} {called} {parameter.name}: {words_of(parameter)}"
            if parameter.param_type_name == "argument":
                assert parameter.metavar, f"{name} {called} {parameter.name}: no metavar"
                assert words_of(parameter) in (None, parameter.metavar), f"{name} {called} {parameter.name}"


def test_help_lists_commands(run_cli):
    outcome = run_cli("--help")
    assert outcome.code == 0
    assert "info" in outcome.out

"""A user's mistake is one line on standard error and exit code 2; nothing on standard output."""

import pytest


@pytest.mark.parametrize("words", [["bogus"], ["info"], ["info", "no-such-file.h5"], ["info", "--nonsense", "x"]])
def test_mistakes_are_one_line_and_exit_two(run_cli, words):
    outcome = run_cli(*words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert len(outcome.err.strip().splitlines()) == 1
    assert "Traceback" not in outcome.err


def test_the_version_is_that_of_the_package(run_cli):
    from recon.version import __version__

    outcome = run_cli("--version")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"recon {__version__}\n", "")


def test_help_lists_commands(run_cli):
    outcome = run_cli("--help")
    assert outcome.code == 0
    assert "info" in outcome.out

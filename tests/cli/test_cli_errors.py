"""A user's mistake is one line on standard error and exit code 2; nothing on standard output."""

import pytest


@pytest.mark.parametrize("words", [["bogus"], ["info"], ["info", "no-such-file.h5"], ["info", "--nonsense", "x"]])
def test_mistakes_are_one_line_and_exit_two(run_cli, words):
    outcome = run_cli(*words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert len(outcome.err.strip().splitlines()) == 1
    assert "Traceback" not in outcome.err


def test_help_lists_commands(run_cli):
    outcome = run_cli("--help")
    assert outcome.code == 0
    assert "info" in outcome.out

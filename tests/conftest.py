"""Fixtures shared by every test."""

import json
import os

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: threads of each would only stand in their way
    os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.main import main


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that lies beside the repository and is never part of it; tests skip where it is absent."""
    folder = Path(os.environ.get("RECON_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real data absent: set RECON_SHARED_DATA to the folder that holds it")
    return folder


@dataclass(frozen=True)
class Outcome:
    """What a command line run left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run ``recon`` in this process: ``run_cli("info", path)`` gives its exit code and what it printed."""

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, captured.err)

    return run

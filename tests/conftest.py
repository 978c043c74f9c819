"""Fixtures shared by every test."""

import json
import os

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: threads of each would only stand in their way
    os.environ["OMP_NUM_THREADS"] = "1"

import gc
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.lean_diffusers import keep_diffusers_lean
from cli.main import main
from recon import workers

gc.disable()  # until everything is collected: a third of the time of all those imports, for what is there to stay
keep_diffusers_lean()  # as every command does first: seconds of each process that tests the network

# Files, or groups of them, that take more than ten seconds, the longest first: begun last, one would keep one core busy
# after all others. Of a group its first file stands here.
LONGEST = (
    "test_example_studies.py", "test_study_processes.py", "test_finetune.py", "test_certification.py",
    "test_reconstruct.py", "test_fuzzing.py", "test_reconstruct_cli.py", "test_benchmark.py", "test_prepare.py",
    "test_faults.py", "test_reader_localisation.py", "test_reader_arms.py", "test_reader_analysis.py",
    "test_start_up.py",
)  # fmt: skip
# Files that one process goes through, by what they share: simulated cohorts, or a browser that takes seconds to start.
TOGETHER = {
    "study": ("test_study_processes.py", "test_study_planes.py", "test_study_models.py", "test_study_pretraining.py"),
    "browser": (
        "test_marks_viewer.py", "test_example_studies.py", "test_reader_study_viewer.py", "test_sequences_viewer.py",
        "test_reader_worklist_page.py",
    ),
}  # fmt: skip
SHARED = {name: group for group, names in TOGETHER.items() for name in names}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files are given out in the order of their first tests."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_collection_finish() -> None:
    """What all those imports have left is there to stay: the garbage collector need not go through it again and again,
    for a fifth of a second each time."""
    import hypothesis  # noqa: F401 - when imported first it asks who refers to what, which is not told of frozen objects

    gc.collect()
    gc.freeze()
    gc.enable()


NETWORK_FROZEN = pytest.StashKey[bool]()


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """The same once more when the network's library, the largest of all, has been imported by a test."""
    if "diffusers.models.unets.unet_2d" in sys.modules and not item.config.stash.get(NETWORK_FROZEN, False):
        item.config.stash[NETWORK_FROZEN] = True
        gc.collect()
        gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole files to each process, and those of ``TOGETHER`` to one."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            name = nodeid.split("::", 1)[0].rpartition("/")[2]
            return SHARED.get(name) or str(super()._split_scope(nodeid))

    return Scheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """What tests write need not survive a loss of power; ``tests/faults`` has a disk that fails on being flushed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_workers() -> Iterator[None]:
    """Workers are forked off a process that has imported what they need, once for all tests, instead of importing it
    anew each time. Tests that start ``python`` themselves have workers as a user has them."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.get_context("forkserver").set_forkserver_preload(["recon.prior.preparation"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers, "START", "forkserver")
            yield
    else:
        yield


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

"""Signals that ask a training to end: its step is finished and its state stored, and whoever handled them gets them."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cli.signals import unwinding
from recon.held_signals import HeldSignals
from recon.processes import OneProcess, Processes
from recon.progress import Note
from recon.training_loop import Training, train

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Options:
    samples: int = 40
    batch: int = 2
    learning_rate: float = 0.1
    warmup_fraction: float = 0.1
    gradient_norm: float = 1.0


class Small(Training[Tensor]):
    """A linear network that never stores its state by itself; a signal comes while the step at ``signalled`` works."""

    def __init__(self, folder: Path, signalled: tuple[int, ...] = (), processes: int = 1) -> None:
        torch.manual_seed(0)
        self.network, self.signalled = nn.Linear(3, 1), list(signalled)
        parameters = dict(self.network.named_parameters())
        optimiser = torch.optim.Adam(parameters.values())
        super().__init__(
            Options(), parameters, optimiser, Processes(OneProcess(CPU, num_processes=processes), CPU), (folder, "")
        )

    def loss_of(self, data: Tensor) -> Tensor:
        while self.samples in self.signalled:
            self.signalled.remove(self.samples)
            os.kill(os.getpid(), signal.SIGTERM)
        return self.network(data[self.samples : self.samples + 2]).square().mean()

    def between(self, data: Tensor, before: int, ended: bool, note: Note) -> None:
        if ended:
            self.save()


@pytest.fixture
def data() -> Tensor:
    return torch.randn(40, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def nothing_stays_held() -> Iterator[None]:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_training_that_is_asked_to_end_loses_nothing(tmp_path: Path, data: Tensor) -> None:
    whole, notes = Small(tmp_path / "whole"), list[str]()
    assert train(whole, data)
    for samples in (0, 10, 38):  # the first step, one within, the last
        parts = Small(tmp_path / "parts", (samples,))
        with unwinding() as received, pytest.raises(KeyboardInterrupt):
            train(parts, data, note=notes.append)
        assert received == [signal.SIGTERM]
        assert parts.samples == samples + 2
    assert notes == [
        "interrupted at sample 2, state saved", "continuing at sample 2", "interrupted at sample 12, state saved",
        "continuing at sample 12",
    ]  # fmt: skip
    again = Small(tmp_path / "parts")
    assert train(again, data)
    assert all(torch.equal(again.parameters[name], weight) for name, weight in whole.parameters.items())
    assert again.loss == whole.loss


def test_a_signal_between_two_steps_loses_nothing_either(tmp_path: Path, data: Tensor) -> None:
    def report(what: str, done: float) -> None:
        if done == 0.5:
            os.kill(os.getpid(), signal.SIGTERM)

    with unwinding(), pytest.raises(KeyboardInterrupt):
        train(Small(tmp_path), data, report)
    continued = Small(tmp_path)
    assert continued.load()
    assert continued.samples == 20


def test_a_second_signal_does_not_wait(tmp_path: Path, data: Tensor) -> None:
    run = Small(tmp_path, (10, 10))
    with unwinding(), pytest.raises(KeyboardInterrupt):
        train(run, data)
    assert run.samples == 10, "the step was not finished"
    assert not list(tmp_path.iterdir())


def test_processes_that_share_a_training_wait_for_nothing(tmp_path: Path, data: Tensor) -> None:
    """They would end at different steps, and one would wait for the others for ever."""
    run = Small(tmp_path, (0,), processes=2)
    with unwinding(), pytest.raises(KeyboardInterrupt):
        train(run, data)
    assert run.samples == 0


def test_an_error_gives_way_to_the_signal(tmp_path: Path) -> None:
    """What its worker processes got as well is what they fail by."""
    with unwinding() as received, pytest.raises(KeyboardInterrupt), HeldSignals():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("a worker was killed")
    assert received == [signal.SIGTERM]
    with unwinding(), pytest.raises(RuntimeError, match="by itself"), HeldSignals():
        raise RuntimeError("by itself")


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with HeldSignals() as held:
            os.kill(os.getpid(), signal.SIGHUP)
        assert held.received is None
    finally:
        signal.signal(signal.SIGHUP, before)

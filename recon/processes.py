"""Several processes that train one model, as ``accelerate launch`` or ``torchrun`` start them; alone otherwise.

A loss of a batch is written with sums over the batch. Each process has a part of them; ``Processes.total`` has the
value of the whole sum and the gradient of the own part, so that gradients added up over the processes are those of one
process with the whole batch. That also holds for losses that are no mean over samples, such as a soft Dice.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import Parameter

from recon.errors import ReconError

Item = TypeVar("Item")


@dataclass(frozen=True)
class OneProcess:
    """What trainings ask of an accelerator, for a run that no other process shares."""

    device: torch.device
    num_processes: int = 1
    process_index: int = 0
    is_main_process: bool = True

    def backward(self, loss: Tensor) -> None:
        loss.backward()


def start_processes(device: torch.device | str | None) -> tuple[Any, torch.device]:
    """An accelerator, or its stand-in where this process is the only one, and the device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return OneProcess(where), where
    from accelerate import Accelerator, InitProcessGroupKwargs

    wanted_cpu = device is not None and torch.device(device).type == "cpu"
    patience = InitProcessGroupKwargs(timeout=timedelta(days=3))  # processes wait for the slowest
    accelerator = Accelerator(cpu=wanted_cpu or not torch.cuda.is_available(), kwargs_handlers=[patience])
    return accelerator, accelerator.device


def wait(accelerator: Any) -> None:
    """Until every process is here."""
    if accelerator.num_processes > 1:
        accelerator.wait_for_everyone()


@dataclass(frozen=True)
class Processes:
    """The processes of one training: who of them this one is, and what they add up."""

    accelerator: Any
    device: torch.device

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.accelerator.num_processes)

    @property
    def index(self) -> int:
        """Which of them this one is, from 0."""
        return int(self.accelerator.process_index)

    @property
    def main(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return bool(self.accelerator.is_main_process)

    def own(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process' part of a batch; parts differ by one item at most."""
        return items[self.index :: self.count]

    def total(self, own: Tensor) -> Tensor:
        """The sum over the processes of ``own``, any shape: the value of the whole, the gradient of the own part."""
        if self.count == 1:
            return own
        whole: Tensor = self.accelerator.reduce(own.detach(), "sum")
        return whole + (own - own.detach())

    def add_gradients(self, parameters: Iterable[Parameter]) -> None:
        """Put the sum over the processes in place of every gradient. A weight that none of them used keeps none."""
        if self.count == 1:
            return
        known = list(parameters)
        used = torch.tensor([float(p.grad is not None) for p in known], device=self.device)
        flat = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in known]
        summed: Tensor = self.accelerator.reduce(torch.cat([used, *flat]), "sum")
        parts = summed[len(known) :].split([p.numel() for p in known])
        for parameter, part, users in zip(known, parts, summed[: len(known)].tolist(), strict=True):
            # As the weight lies in memory (channels last, perhaps): a fused optimiser goes through both side by side.
            like = torch.empty_like(parameter.detach())
            parameter.grad = like.copy_(part.view_as(parameter)) if users else None

    @contextmanager
    def one_after_the_other(self) -> Iterator[None]:
        """The main process runs the block first: what it keeps on disk, the others find."""
        if not self.main:
            wait(self.accelerator)
        yield
        if self.main:
            wait(self.accelerator)


def alone(device: torch.device | str = "cpu") -> Processes:
    """A training that no other process shares."""
    where = torch.device(device)
    return Processes(OneProcess(where), where)


def training_processes(device: torch.device | str | None, batch: int) -> Processes:
    """The processes that this one was started with. Raises ReconError when there are more than samples in a batch."""
    processes = Processes(*start_processes(device))
    if processes.count > batch:
        raise ReconError(
            f"{processes.count} processes share a batch of {batch}: one sample each is the least; start fewer, or "
            "raise batch"
        )
    return processes

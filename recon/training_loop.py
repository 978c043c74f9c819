"""The loop of trainings that can be interrupted, in one process or several: rate, gradients, state on disk.

Lengths are counted in samples. What a step draws depends on the seed and the number of the sample alone, so a training
that was interrupted is the same as one that was not, with whatever number of processes it goes on.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from recon.errors import ReconError
from recon.gradient_steps import warm_cosine
from recon.held_signals import HeldSignals
from recon.processes import Processes
from recon.progress import Note, Report, silent, unsaid
from recon.training_state import TrainingState

Data = TypeVar("Data")  # what a step draws from


class LoopOptions(Protocol):
    """What the loop asks of the options of a training."""

    @property
    def samples(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def warmup_fraction(self) -> float: ...
    @property
    def gradient_norm(self) -> float: ...


class Training(Generic[Data]):
    """The state of a training: what is trained, the optimiser, and how many samples were seen.

    A training says what the loss of its next batch is (``loss_of``, or ``backward`` where it comes in parts), and what
    happens between steps (``between``). It may say how long it is (``length``), how its learning rate goes (``rate``),
    and what else moves with every step (``after_step``).
    """

    memory = 0.98  # share of the loss so far in the loss that is told

    def __init__(
        self, options: LoopOptions, parameters: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer,
        processes: Processes, state: tuple[Path, str],
    ) -> None:  # fmt: skip
        """``state``: its folder, and what must be equal for an interrupted run to be continued."""
        self.loop, self.parameters, self.optimiser = options, dict(parameters), optimiser
        self.processes, self.folder, self.same = processes, *state
        self.samples, self.loss = 0, math.nan

    @property
    def length(self) -> int:
        """How many samples the whole training sees at most."""
        return self.loop.samples

    def rate(self, samples: int) -> float:
        """The learning rate of the step that ends at so many samples."""
        options = self.loop
        return warm_cosine(options.learning_rate, samples, options.samples, options.warmup_fraction)

    def loss_of(self, data: Data) -> Tensor:
        """The loss of the next batch, whose gradient is that of the own part of it; see ``recon.processes``."""
        raise NotImplementedError

    def backward(self, data: Data) -> float:
        """Gradients of the own part of the next batch; returns the loss of all of it."""
        loss = self.loss_of(data)
        loss.backward()
        return float(loss.detach())

    def between(self, data: Data, before: int, ended: bool, note: Note) -> None:
        """What happens after a step; the state is kept when it is time. ``before``: samples before the step."""
        raise NotImplementedError

    def after_step(self) -> None:
        """What follows every step of the weights, such as a moving average of them."""

    def step(self, data: Data) -> float:
        """One gradient step; returns the loss."""
        options = self.loop
        rate = self.rate(self.samples + options.batch)
        for group in self.optimiser.param_groups:
            group["lr"] = group.get("rate", 1.0) * rate
        self.optimiser.zero_grad()
        loss = self.backward(data)
        self.processes.add_gradients(self.parameters.values())
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), options.gradient_norm)
        self.optimiser.step()
        self.samples += options.batch
        self.after_step()
        return loss

    def facts(self) -> dict[str, Any]:
        """What of the state is no tensor."""
        return {"samples": self.samples, "loss": repr(self.loss)}

    def take(self, facts: Mapping[str, Any]) -> None:
        """Put stored facts in place."""
        self.samples, self.loss = int(facts["samples"]), float(facts["loss"])

    def others(self) -> dict[str, Tensor]:
        """Tensors of the state that are not trained by gradients."""
        return {}

    def save(self) -> None:
        """Write the state, in one process; a kill at any moment leaves the previous one intact."""
        if self.processes.main:
            self._state().save(self.facts())

    def load(self) -> bool:
        """Continue from the stored state; False when there is none. Raises ReconError when it does not fit."""
        facts = self._state().load()
        if facts is None:
            return False
        self.take(facts)
        return True

    def _state(self) -> TrainingState:
        return TrainingState(self.folder, self.parameters, self.optimiser, self.others(), self.same)


def train(
    run: Training[Data], data: Data, report: Report = silent, note: Note = unsaid, stop_after: int | None = None
) -> bool:
    """Begin, or continue from the stored state; see ``run_to_end``. Raises ReconError when the state does not fit."""
    if run.load():
        note(f"continuing at sample {run.samples}")
    return run_to_end(run, data, report, note, stop_after)


def last_sample(run: Training[Data]) -> int:
    """How many samples whole batches make of the training's length."""
    return run.length // run.loop.batch * run.loop.batch


def run_to_end(
    run: Training[Data], data: Data, report: Report = silent, note: Note = unsaid, stop_after: int | None = None
) -> bool:
    """Step on from where the training is; True when it reached its length, False when ``stop_after`` samples ended it
    before.

    A signal that asks the program to end waits for the end of the step and for its state to be stored, so that nothing
    of it is lost. Processes that share a training would not end at the same step, and wait for one another: there the
    last stored state counts. Raises ReconError when the loss is not finite; the last good state stays on disk.
    """
    last = last_sample(run)
    stop = last if stop_after is None else min(last, stop_after)
    begun = run.samples
    if begun:  # what was done before is no work of this run, and its remaining time no measure of it
        report("training", run.samples / last)
    with HeldSignals(run.processes.count == 1) as held:
        while run.samples < stop and held.received is None:
            before = run.samples
            value = run.step(data)
            if not math.isfinite(value):
                raise ReconError(
                    f"training diverged at sample {run.samples} (loss {value}); lower learning_rate, in another --out"
                )
            run.loss = value if math.isnan(run.loss) else run.memory * run.loss + (1 - run.memory) * value
            run.between(data, before, run.samples >= stop, note)
            report("training", run.samples / last)
        if held.received is not None and begun < run.samples < stop:
            run.save()
            note(f"interrupted at sample {run.samples}, state saved")
    return run.samples >= last

"""Training of a task model on a frozen encoder: adapters and head together; resumable, its duration chosen on persons.

    L = cross entropy(label) + w BCE(share of lesion in a token), the latter where a mask is known

Classes are drawn equally often. The weights that are kept are those of least log loss on persons that are not trained
on, the start (a linear probe on the frozen encoder) being one of the candidates.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recon.encode.interface import DifferentiableEncoder
from recon.encode.tasks.low_rank import attached, build_adapters
from recon.encode.tasks.network import Answer, TaskHead, answer, random_head
from recon.encode.tasks.options import TaskFitOptions
from recon.encode.tasks.volumes import Case, View, read_view, some_tokens
from recon.errors import ReconError
from recon.gradient_steps import decaying_optimiser, warm_cosine
from recon.progress import Note, Report, silent, unsaid
from recon.seeding import torch_generator
from recon.training_state import TrainingState, fingerprint


def task_loss(given: Answer, label: int, views: Sequence[View], pixel_weight: float) -> Tensor:
    """The loss of one case, of class ``label``."""
    loss = functional.cross_entropy(given.logits[None], torch.tensor([label], device=given.logits.device))
    if not pixel_weight:
        return loss
    known = [
        (said, view.lesion) for said, view in zip(given.token_logits, views, strict=True) if view.lesion is not None
    ]
    if not known:
        return loss
    said = torch.cat([each for each, _ in known])
    wanted = torch.cat([lesion for _, lesion in known]).to(said.device)
    return loss + pixel_weight * functional.binary_cross_entropy_with_logits(said, wanted)


class TaskRun:
    """The state of a training: adapters, head, optimiser, the best weights so far, and how many samples were seen."""

    def __init__(
        self, options: TaskFitOptions, encoder: DifferentiableEncoder, sizes: tuple[int, int, int], folder: Path
    ) -> None:
        """``sizes``: features of a token, of the pooled vector, and classes."""
        self.options, self.encoder, self.folder = options, encoder, folder
        self.adapters = build_adapters(encoder.network, options, torch_generator(options.seed, "adapters"))
        self.head: TaskHead = random_head(*sizes, options, torch_generator(options.seed, "task-head"))
        for module in (self.head, *self.adapters.values()):
            module.to(encoder.device)
        self.parameters: dict[str, nn.Parameter] = named_weights(self.adapters, self.head)
        fitted = list(self.head.classify.parameters())
        self.optimiser = decaying_optimiser(
            [p for p in self.parameters.values() if not any(p is each for each in fitted)],
            options.learning_rate, options.weight_decay, (0.9, 0.98),
        )  # fmt: skip
        # At the full rate a few hundred samples spoil what the probe's regularisation, chosen over persons, has found.
        self.optimiser.add_param_group({"params": fitted, "weight_decay": 0.0, "rate": options.head_rate})
        self.samples, self.loss = 0, math.nan
        self.best = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.best_loss, self.best_samples = math.inf, 0

    def begin(self, probe: Mapping[str, NDArray[np.float32]]) -> None:
        """Put the weights of a linear probe on the frozen encoder in place of the head's."""
        with torch.no_grad():
            for name, tensor in (
                ("mean", self.head.mean), ("deviation", self.head.deviation),
                ("weight", self.head.classify.weight), ("bias", self.head.classify.bias),
            ):  # fmt: skip
                tensor.copy_(torch.from_numpy(probe[name]))

    def step(self, batch: Sequence[tuple[list[View], int]]) -> float:
        """One gradient step over several cases; returns the mean loss."""
        options = self.options
        for group in self.optimiser.param_groups:
            group["lr"] = group.get("rate", 1.0) * warm_cosine(
                options.learning_rate, self.samples + len(batch), options.samples, options.warmup_fraction
            )
        self.optimiser.zero_grad()
        total = 0.0
        with attached(self.encoder.network, self.adapters):
            for views, label in batch:
                given = answer(self.encoder, self.head, [view.prepared for view in views])
                loss = task_loss(given, label, views, options.pixel_weight) / len(batch)
                loss.backward()
                total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), options.gradient_norm)
        self.optimiser.step()
        self.samples += len(batch)
        return total

    def judge(self, cases: Sequence[Case], classes: Sequence[int]) -> float:
        """Mean log loss over cases that are not trained on; the weights are kept when it is the least so far."""
        losses = []
        with torch.no_grad(), attached(self.encoder.network, self.adapters):
            for case in cases:
                generator = torch_generator(self.options.seed, "judged-tokens", case.case)
                views = [some_tokens(read_view(path), self.options.tokens, generator) for path in case.views]
                given = answer(self.encoder, self.head, [view.prepared for view in views])
                losses.append(float(task_loss(given, classes.index(case.label), views, 0.0)))
        found = float(np.mean(losses))
        if found < self.best_loss:
            self.best_loss, self.best_samples = found, self.samples
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    self.best[name].copy_(parameter)
        return found

    def keep_best(self) -> None:
        """Put the best weights in place."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.best[name])

    def save(self) -> None:
        """Write the state; a kill at any moment leaves the previous one intact."""
        facts = {
            "samples": self.samples, "loss": repr(self.loss), "best_loss": repr(self.best_loss),
            "best_samples": self.best_samples,
        }  # fmt: skip
        self._state().save(facts)

    def load(self) -> bool:
        """Continue from the stored state; False when there is none. Raises ReconError when it does not fit."""
        facts = self._state().load()
        if facts is None:
            return False
        self.samples, self.loss = int(facts["samples"]), float(facts["loss"])
        self.best_loss, self.best_samples = float(facts["best_loss"]), int(facts["best_samples"])
        return True

    def _state(self) -> TrainingState:
        others = {f"best/{name}": tensor for name, tensor in self.best.items()}
        others |= {f"buffer/{name}": tensor for name, tensor in self.head.named_buffers()}
        same = f"{fingerprint(self.options, ())}|{self.encoder.name}|{self.encoder.weights_hash}"
        return TrainingState(self.folder, self.parameters, self.optimiser, others, same)


def named_weights(adapters: Mapping[str, nn.Module], head: nn.Module) -> dict[str, nn.Parameter]:
    """All trained weights by name."""
    found = {f"head/{name}": parameter for name, parameter in head.named_parameters()}
    for layer, adapter in adapters.items():
        found |= {f"adapter/{layer}/{name}": parameter for name, parameter in adapter.named_parameters()}
    return found


def draw_cases(cases: Sequence[Case], classes: Sequence[int], options: TaskFitOptions, samples: int) -> list[Case]:
    """The cases of the step at ``samples``: a class at random, then one of its cases."""
    generator = torch_generator(options.seed, "task-cases", samples)
    members = [[case for case in cases if case.label == value] for value in classes]
    drawn = []
    for _ in range(options.batch):
        several = members[int(torch.randint(len(members), (1,), generator=generator))]
        drawn.append(several[int(torch.randint(len(several), (1,), generator=generator))])
    return drawn


def train(
    run: TaskRun,
    trained: Sequence[Case],
    watched: Sequence[Case],
    classes: Sequence[int],
    report: Report = silent,
    note: Note = unsaid,
    stop_after: int | None = None,
) -> bool:
    """Run or continue; True when the training reached its length, False when ``stop_after`` samples ended it before.

    Raises ReconError when the loss is not finite; the last good state stays on disk.
    """
    options = run.options
    last = options.samples // options.batch * options.batch
    stop = last if stop_after is None else min(last, stop_after)
    if run.samples == 0 and math.isinf(run.best_loss):
        note(f"before training: log loss {run.judge(watched, classes):.4f} on {len(watched)} cases not trained on")
        run.save()
    while run.samples < stop:
        before = run.samples
        generator = torch_generator(options.seed, "task-tokens", run.samples)
        batch = [
            (
                [some_tokens(read_view(path), options.tokens, generator) for path in case.views],
                classes.index(case.label),
            )
            for case in draw_cases(trained, classes, options, run.samples)
        ]
        value = run.step(batch)
        if not math.isfinite(value):
            raise ReconError(
                f"training diverged at sample {run.samples} (loss {value}); lower learning_rate, in another --out"
            )
        run.loss = value if math.isnan(run.loss) else 0.95 * run.loss + 0.05 * value
        judged = run.samples >= last or before // options.judge_samples != run.samples // options.judge_samples
        if judged:
            found = run.judge(watched, classes)
            note(f"sample {run.samples}: loss {run.loss:.4f}, log loss {found:.4f} on cases not trained on")
        if judged or run.samples >= stop:
            run.save()
        report("training", run.samples / last)
    return run.samples >= last

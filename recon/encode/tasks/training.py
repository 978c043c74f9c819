"""Training of a task model on a frozen encoder: adapters and head together; resumable, its duration chosen on persons.

    L = cross entropy(label) + w BCE(share of lesion in a token), the latter where a mask is known

Classes are drawn equally often. The weights that are kept are those of least log loss on persons that are not trained
on, the start (a linear probe on the frozen encoder) being one of the candidates.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from recon.gradient_steps import decaying_optimiser
from recon.processes import Processes
from recon.progress import Note, Report, silent, unsaid
from recon.seeding import torch_generator
from recon.training_loop import Training, run_to_end
from recon.training_state import fingerprint


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


@dataclass(frozen=True)
class TaskCases:
    """What a training draws from, and what its duration is chosen on."""

    trained: Sequence[Case]
    watched: Sequence[Case]
    classes: Sequence[int]


class TaskRun(Training[TaskCases]):
    """A training of adapters and head, and the best weights so far."""

    memory = 0.95

    def __init__(
        self, options: TaskFitOptions, encoder: DifferentiableEncoder, sizes: tuple[int, int, int], folder: Path,
        processes: Processes,
    ) -> None:  # fmt: skip
        """``sizes``: features of a token, of the pooled vector, and classes."""
        self.options, self.encoder = options, encoder
        self.adapters = build_adapters(encoder.network, options, torch_generator(options.seed, "adapters"))
        self.head: TaskHead = random_head(*sizes, options, torch_generator(options.seed, "task-head"))
        for module in (self.head, *self.adapters.values()):
            module.to(encoder.device)
        parameters = named_weights(self.adapters, self.head)
        fitted = list(self.head.classify.parameters())
        optimiser = decaying_optimiser(
            [p for p in parameters.values() if not any(p is each for each in fitted)],
            options.learning_rate, options.weight_decay, (0.9, 0.98),
        )  # fmt: skip
        # At the full rate a few hundred samples spoil what the probe's regularisation, chosen over persons, has found.
        optimiser.add_param_group({"params": fitted, "weight_decay": 0.0, "rate": options.head_rate})
        same = f"{fingerprint(options, ())}|{encoder.name}|{encoder.weights_hash}"
        super().__init__(options, parameters, optimiser, processes, (folder, same))
        self.best = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.best_loss, self.best_samples = math.inf, 0

    def begin(self, probe: Mapping[str, NDArray[np.float32]]) -> None:
        """Put the weights of probes on the frozen encoder in place of the head's; see ``probe_start``."""
        head = self.head
        places = {
            "mean": head.mean, "deviation": head.deviation, "weight": head.classify.weight, "bias": head.classify.bias,
            "token_weight": head.token.weight, "token_bias": head.token.bias,
        }  # fmt: skip
        if head.anatomy is not None:
            places |= {"anatomy_mean": head.anatomy_mean, "anatomy_deviation": head.anatomy_deviation}
        with torch.no_grad():
            for name, tensor in places.items():
                if name in probe:
                    tensor.copy_(torch.from_numpy(probe[name]))

    def draw(self, data: TaskCases) -> list[tuple[list[View], int]]:
        """The views and class of each case of the next batch, drawn whole: it does not hang on how many processes
        share it."""
        options = self.options
        generator = torch_generator(options.seed, "task-tokens", self.samples)
        return [
            (
                [some_tokens(read_view(path), options.tokens, generator) for path in case.views],
                data.classes.index(case.label),
            )
            for case in draw_cases(data.trained, data.classes, options, self.samples)
        ]

    def backward(self, data: TaskCases) -> float:
        """Case by case, so that one case's features are held at a time."""
        drawn, weight = self.draw(data), self.options.pixel_weight
        own = torch.zeros((), device=self.encoder.device)
        with attached(self.encoder.network, self.adapters):
            for views, label in self.processes.own(drawn):
                given = answer(self.encoder, self.head, [view.prepared for view in views])
                loss = task_loss(given, label, views, weight) / len(drawn)
                loss.backward()
                own += loss.detach()
        return float(self.processes.total(own))

    def between(self, data: TaskCases, before: int, ended: bool, note: Note) -> None:
        """Judge the weights when it is time, and keep the state."""
        options = self.options
        complete = self.samples >= options.samples // options.batch * options.batch
        judged = complete or before // options.judge_samples != self.samples // options.judge_samples
        if judged:
            found = self.judge(data.watched, data.classes)
            note(f"sample {self.samples}: loss {self.loss:.4f}, log loss {found:.4f} on cases not trained on")
        if judged or ended:
            self.save()

    def judge(self, cases: Sequence[Case], classes: Sequence[int]) -> float:
        """Mean log loss over cases that are not trained on; the weights are kept when it is the least so far."""
        own = torch.zeros((), dtype=torch.float64)
        with torch.no_grad(), attached(self.encoder.network, self.adapters):
            for case in self.processes.own(cases):
                generator = torch_generator(self.options.seed, "judged-tokens", case.case)
                views = [some_tokens(read_view(path), self.options.tokens, generator) for path in case.views]
                given = answer(self.encoder, self.head, [view.prepared for view in views])
                own += float(task_loss(given, classes.index(case.label), views, 0.0))
        found = float(self.processes.total(own.to(self.encoder.device))) / len(cases)
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

    def facts(self) -> dict[str, Any]:
        """With the best weights' loss and number of samples."""
        return {**super().facts(), "best_loss": repr(self.best_loss), "best_samples": self.best_samples}

    def take(self, facts: Mapping[str, Any]) -> None:
        """Put stored facts in place."""
        super().take(facts)
        self.best_loss, self.best_samples = float(facts["best_loss"]), int(facts["best_samples"])

    def others(self) -> dict[str, Tensor]:
        """The best weights, and what the head standardises by."""
        best = {f"best/{name}": tensor for name, tensor in self.best.items()}
        return best | {f"buffer/{name}": tensor for name, tensor in self.head.named_buffers()}


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
    run: TaskRun, cases: TaskCases, report: Report = silent, note: Note = unsaid, stop_after: int | None = None
) -> bool:
    """Step on from where the training is; True when it reached its length, False when ``stop_after`` samples ended it
    before.

    Raises ReconError when the loss is not finite; the last good state stays on disk.
    """
    if run.samples == 0 and math.isinf(run.best_loss):
        found, count = run.judge(cases.watched, cases.classes), len(cases.watched)
        note(f"before training: log loss {found:.4f} on {count} cases not trained on")
        run.save()
    return run_to_end(run, cases, report, note, stop_after)

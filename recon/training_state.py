"""The state of an interrupted training on disk: weights, optimiser, whatever else the run needs, and how far it is.

One safetensors file; its metadata hold the run's facts and what of the options must be equal for it to be continued.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import Parameter

from recon.errors import ReconError
from recon.tensor_file import write_tensors

NAME = "state.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq")  # of Adam and AdamW, beside the number of steps


@dataclass(frozen=True)
class TrainingState:
    """What belongs to a run's state.

    Attributes:
        folder: where the state is stored.
        parameters: trained weights by name.
        optimiser: Adam or AdamW over these weights.
        others: tensors that are not trained by gradients (moving averages), by a name with a prefix of its own.
        fingerprint: what must be equal for the run to be continued; see ``fingerprint``.
    """

    folder: Path
    parameters: Mapping[str, Parameter]
    optimiser: torch.optim.Optimizer
    others: Mapping[str, Tensor]
    fingerprint: str

    def save(self, facts: Mapping[str, Any]) -> None:
        """Write the state with ``facts``, which JSON can hold; a kill at any moment leaves the previous one intact."""
        tensors: dict[str, Tensor] = dict(self.others)
        for name, parameter in self.parameters.items():
            tensors[f"weight/{name}"] = parameter
            moments = self.optimiser.state.get(parameter, {})
            tensors |= {f"{key}/{name}": moments[key] for key in ("step", *MOMENTS) if key in moments}
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_tensors(self.folder / NAME, stored, {"run": json.dumps({**facts, "options": self.fingerprint})})

    def load(self) -> dict[str, Any] | None:
        """Put the stored state in place and return its facts; None when there is none.

        Raises ReconError when the file is damaged or the run had other options; then nothing was changed.
        """
        path = self.folder / NAME
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                facts: dict[str, Any] = json.loads((file.metadata() or {})["run"])
            tensors = load_file(path)
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise ReconError(
                f"{path}: the interrupted run is damaged ({text}); delete the folder to start again"
            ) from error
        if facts["options"] != self.fingerprint:
            raise ReconError(
                f"{path}: the interrupted run had other options or another start; use the same ones or another --out"
            )
        with torch.no_grad():
            for name, tensor in self.others.items():
                tensor.copy_(tensors[name])
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"weight/{name}"])
                if f"step/{name}" in tensors:
                    self.optimiser.state[parameter] = self._moments(parameter, name, tensors)
        return facts

    def _moments(self, parameter: Parameter, name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The optimiser's state of one weight. A fused step counts on the weights' device, others on the processor."""
        like, step = parameter.detach(), tensors[f"step/{name}"]
        fused = bool(self.optimiser.defaults.get("fused"))
        moments = {key: torch.empty_like(like).copy_(tensors[f"{key}/{name}"]) for key in MOMENTS}
        return {"step": step.to(like.device) if fused else step, **moments}


def fingerprint(options: Any, ignored: tuple[str, ...]) -> str:
    """The dataclass ``options`` as text without ``ignored``: fields that change how it runs and not what is made."""
    values = {key: value for key, value in dataclasses.asdict(options).items() if key not in ignored}
    return json.dumps(values, sort_keys=True)

"""An interrupted training: what is stored, what is refused, and that nothing is half changed."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from recon.errors import ReconError
from recon.training_state import TrainingState, fingerprint


@dataclass(frozen=True)
class Options:
    rate: float = 0.1
    workers: int = 0


def run(folder: Path, options: Options = Options(), steps: int = 0, fused: bool = False) -> TrainingState:
    """A small network after some steps of Adam, with a moving average of its weights."""
    torch.manual_seed(steps)
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(network.parameters(), lr=options.rate, fused=fused)
    for _ in range(steps):
        network(torch.randn(4, 3)).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    average = {"average/weight": 0.5 * network.weight.detach()}
    same = fingerprint(options, ("workers",))
    return TrainingState(folder, dict(network.named_parameters()), optimiser, average, same)


@pytest.mark.parametrize("fused", [False, True])
def test_everything_comes_back(tmp_path: Path, fused: bool) -> None:
    stored, fresh = run(tmp_path, steps=3, fused=fused), run(tmp_path, Options(workers=4), fused=fused)
    assert fresh.load() is None
    stored.save({"images": 12})
    facts = fresh.load()
    assert facts is not None
    assert facts["images"] == 12
    assert torch.equal(fresh.others["average/weight"], stored.others["average/weight"])
    for name, parameter in stored.parameters.items():
        other = fresh.parameters[name]
        assert torch.equal(parameter, other)
        left, right = stored.optimiser.state[parameter], fresh.optimiser.state[other]
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)


def test_other_options_and_damage_are_refused_and_change_nothing(tmp_path: Path) -> None:
    run(tmp_path, steps=3).save({"images": 12})
    other = run(tmp_path, Options(rate=0.2))
    before = {name: parameter.detach().clone() for name, parameter in other.parameters.items()}
    with pytest.raises(ReconError, match="other options"):
        other.load()
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ReconError, match=r"state\.safetensors: the interrupted run is damaged"):
        run(tmp_path).load()
    assert all(torch.equal(before[name], parameter) for name, parameter in other.parameters.items())

"""Training on two processes (gloo, on processors) gives the weights of one process at the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from test_finetune import write_patient

from recon.prior.denoiser import build_denoiser
from recon.prior.options import NetworkOptions

CONFIG = """\
network: {channels: [16, 24], unshuffle: 2, contrast_labels: 6}
augmentation: {rotation: 0.0, zoom: 0.0, phase: 0.0, intensity: 0.0}
images: 64
batch: 4
crop: 24
learning_rate: 1.0e-3
validation_fraction: 0.3
"""


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    for number in range(4):
        write_patient(tmp_path / "data", f"p{number}", "T1", number)
        write_patient(tmp_path / "new", f"q{number}", "FLAIR", 50 + number)
    (tmp_path / "config.yaml").write_text(CONFIG)
    alone = [sys.executable, "-m", "cli"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "cli"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, start in (("one", alone), ("two", launcher)):
        for words in (
            ["pretrain", "--config", tmp_path / "config.yaml", "--data", tmp_path / "data", "--out", tmp_path / name],
            ["finetune", "--prior", tmp_path / "one", "--data", tmp_path / "new", "--out", tmp_path / f"{name}-tuned",
             "--rate", "1e-3", "--images", "32"],
        ):  # fmt: skip
            command = [*start, *map(str, words), "--device", "cpu", "--json"]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
            assert done.returncode == 0, done.stderr[-2000:]
            assert done.stdout.count('"output"') == 1, "one process speaks"
    start = build_denoiser(
        NetworkOptions(channels=(16, 24), unshuffle=2, contrast_labels=6), 0.5, 0
    ).network.state_dict()
    for folder in ("{}", "{}-tuned"):
        one, two = (
            load_file(tmp_path / folder.format(name) / "diffusion_pytorch_model.safetensors") for name in ("one", "two")
        )
        apart, moved = (
            sum(float(((a[k] - b[k]) ** 2).sum()) for k in one) ** 0.5 for a, b in ((one, two), (one, start))
        )
        # Halves of a batch are summed in another order, and Adam's first steps magnify the rounding of small gradients.
        assert apart < 0.02 * moved, (folder, apart, moved)
        start = one

"""Random streams depend on what is drawn, not on when, where or in which order."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recon.seeding import numpy_generator, stream_seed, torch_generator

NAMES = st.lists(st.integers(0, 10**6) | st.text("abc", max_size=4), min_size=1, max_size=3)


@given(seed=st.integers(0, 2**63 - 1), first=NAMES, second=NAMES)
def test_equal_names_give_equal_streams_and_others_differ(seed, first, second):
    assert 0 <= stream_seed(seed, *first) < 2**63
    equal = [str(name) for name in first] == [str(name) for name in second]
    assert (stream_seed(seed, *first) == stream_seed(seed, *second)) is equal


def test_names_do_not_run_into_each_other():
    assert stream_seed(1, 12, 3) != stream_seed(1, 1, 23)
    assert stream_seed(11, 2) != stream_seed(1, 12)
    assert stream_seed(1, "a", "") != stream_seed(1, "a")


def test_the_same_in_another_process():
    code = "from recon.seeding import stream_seed; print(stream_seed(7, 'scan', 3, 0))"
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) == stream_seed(7, "scan", 3, 0)


def test_a_draw_does_not_depend_on_the_draws_before_it():
    alone = torch.randn(5, generator=torch_generator(0, "scan", 4))
    for index in range(4):
        torch.randn(100, generator=torch_generator(0, "scan", index))
    torch.manual_seed(9)
    assert torch.equal(torch.randn(5, generator=torch_generator(0, "scan", 4)), alone)


def test_neighbouring_streams_are_uncorrelated():
    draws = np.stack([numpy_generator(0, "scan", index).normal(size=4000) for index in range(40)])
    correlation = np.corrcoef(draws) - np.eye(40)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)
    torch_draws = torch.stack([torch.randn(4000, generator=torch_generator(0, "scan", i)) for i in range(40)])
    correlation = torch.corrcoef(torch_draws) - torch.eye(40)
    assert float(correlation.abs().max()) < 5 / np.sqrt(4000)


def test_the_global_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    torch.randn(3, generator=torch_generator(1, "x"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seeds_are_whole_numbers():
    assert stream_seed(np.int64(3), "x") == stream_seed(3, "x")
    with pytest.raises((TypeError, ValueError)):
        stream_seed("three", "x")  # type: ignore[arg-type]

"""The permutation test: exact when nothing changed, powerful when something did, and by person."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import kstest

from recon.monitoring.kernel_test import joint_kernel, permutation_p_value


def p_values(shift: float, trials: int = 200, per_person: int = 1, unit: str = "person") -> list[float]:
    found = []
    for trial in range(trials):
        generator = np.random.default_rng([7, trial])
        persons = 40
        own = np.repeat(generator.standard_normal((persons, 3)), per_person, axis=0)
        values = own + (0.2 * generator.standard_normal(own.shape) if per_person > 1 else 0.0)
        names = [str(n // per_person) if unit == "person" else str(n) for n in range(len(values))]
        watched = np.arange(len(values)) >= 30 * per_person
        values[watched] += shift
        blocks = [values, generator.standard_normal((len(values), 12))]
        found.append(permutation_p_value(blocks, names, watched, 199, generator)[1])
    return found


def test_p_values_are_uniform_without_a_change() -> None:
    assert kstest(p_values(0.0), "uniform").pvalue > 0.01


def test_a_shift_is_found() -> None:
    assert np.mean(np.array(p_values(1.5, trials=40)) <= 0.05) > 0.9


def test_scans_of_one_person_are_permuted_together() -> None:
    """Taken for independent, four scans of each of few persons make differences out of nothing."""
    by_person = np.array(p_values(0.0, trials=100, per_person=4))
    by_scan = np.array(p_values(0.0, trials=100, per_person=4, unit="scan"))
    assert (by_person <= 0.05).mean() <= 0.12
    assert (by_scan <= 0.05).mean() > 0.3


def test_the_statistic_is_the_squared_distance_of_mean_features() -> None:
    generator = np.random.default_rng(0)
    values = generator.standard_normal((12, 2))
    watched = np.arange(12) >= 8
    kernel = joint_kernel([values])
    early, late = kernel[:8, :8].mean(), kernel[8:, 8:].mean()
    found, _ = permutation_p_value([values], [str(n) for n in range(12)], watched, 99, generator)
    assert np.isclose(found, early + late - 2 * kernel[:8, 8:].mean())
    assert np.allclose(np.diag(kernel), 1.0)


def test_the_p_value_is_that_of_the_permutations_one_by_one() -> None:
    """As defined: MMD^2 of every permutation, from the kernel of all scans; with several scans of a person, and with
    more permutations than are done at once."""
    generator = np.random.default_rng(3)
    features = generator.standard_normal((46, 3))
    persons = [f"p{number // 2}" for number in range(34)] + [f"n{number // 3}" for number in range(12)]
    watched = np.arange(46) >= 34
    found = permutation_p_value([features], persons, watched, 5000, np.random.default_rng(4))
    units = np.unique(persons, return_inverse=True)[1]
    late = np.zeros(units.max() + 1, bool)
    late[units] = watched
    # np.unique sorts: units of the window come after those before it, as in the function by what it puts before names.
    order = np.argsort([f"{bool(flag)}" for flag in late], kind="stable")
    units, late = np.argsort(order)[units], late[order]
    kernel, values = joint_kernel([features]), []
    for drawn in [None, *np.random.default_rng(4).random((5000, len(late)))]:
        window = (late if drawn is None else late[np.argsort(drawn)])[units]
        weights = window / window.sum() - ~window / (~window).sum()
        values.append(weights @ kernel @ weights)
    assert found[0] == pytest.approx(values[0], rel=1e-9)
    assert found[1] == np.mean(np.array(values) >= values[0] * (1 - 1e-9))


def test_many_permutations_do_not_fill_the_memory() -> None:
    """1,500 scans ask for 75,000 a window; a product of them all with the kernel took a gigabyte, and minutes."""
    features = np.random.default_rng(0).standard_normal((210, 4))
    tracemalloc.start()
    try:
        permutation_p_value(
            [features], [str(n) for n in range(210)], np.arange(210) >= 200, 20_000, np.random.default_rng(0)
        )
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()

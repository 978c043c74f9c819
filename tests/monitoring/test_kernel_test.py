"""The permutation test: exact when nothing changed, powerful when something did, and by person."""

import numpy as np
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

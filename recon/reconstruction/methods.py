"""Every way from kspace to an image: one row a method. Nothing else in the toolkit knows a method by its name.

A new method is one module with a ``solve`` function and one row here. The command line, its help texts and error
messages, the benchmark, the demonstration, held-out scores, exports and fine-tuning all read this table. It is read
before anything heavy is imported, so rows name their functions by ``later``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from recon.errors import ReconError
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.plan import (
    Plan,
    daps_plan,
    dds_plan,
    dps_plan,
    mean_plan,
    pigdm_plan,
    pula_plan,
    stochastic_dds_plan,
)

if TYPE_CHECKING:
    from recon.reconstruction.preparing import Measurement, Prepared
    from recon.reconstruction.solving import Solution, Task


@dataclass(frozen=True)
class Tuning:
    """A weight that an oracle may choose on the reference. ``weights(prepared)`` are tried; ``always``: the method has
    no default that serves every scan, so that comparing it untuned would be unfair."""

    weights: Callable[["Prepared"], Sequence[float]]
    always: bool = False


@dataclass(frozen=True)
class Method:
    """One way to an image.

    ``prepare(measurement, slices, options)`` gives the ``Prepared`` slices that ``solve(prepared, task)`` turns into a
    ``Solution``. ``plan(options, acceleration, sigma)`` resolves what a sampler leaves to the scan; a method without
    one uses no prior. ``reads``: the options that it reads beyond those of every method. ``title``: its name in
    figures. ``masks``: the dimensions that a mask may have. ``cost``: about how long it takes, for progress bars, a
    network call being 0.15. ``shown``: it is part of the demonstration.
    """

    name: str
    title: str
    help: str
    prepare: Callable[["Measurement", range, ReconstructionOptions], "Prepared"]
    solve: Callable[["Prepared", "Task"], "Solution"]
    plan: Callable[[ReconstructionOptions, float, float], Plan] | None = None
    reads: frozenset[str] = frozenset()
    tuning: Tuning | None = None
    cost: float = 0.5
    shown: bool = False
    masks: tuple[int, ...] = (1, 2)

    @property
    def needs_prior(self) -> bool:
        """Whether the method samples from a diffusion prior."""
        return self.plan is not None

    def duration(self, options: ReconstructionOptions, acceleration: float) -> float:
        """About how long it takes, against the other methods."""
        if self.plan is None:
            return self.cost
        plan = self.plan(options, acceleration, 0.0)
        return self.cost * plan.network_calls


def later(module: str, function: str) -> Callable[..., Any]:
    """A function of a module that is imported when it is first called."""

    def call(*arguments: Any) -> Any:
        return getattr(import_module(module), function)(*arguments)

    return call


_PREPARING, _CLASSICAL, _SAMPLING = (f"recon.reconstruction.{name}" for name in ("preparing", "classical", "sampling"))
_TUNING = "recon.reconstruction.tuning"
_SAMPLER = frozenset({"samples", "steps", "sigma_max", "sigma_min", "keep_samples"})

METHODS: dict[str, Method] = {
    row.name: row
    for row in (
        Method(
            "posterior", "posterior mean",
            "the posterior mean under the diffusion prior by a recursion of conditional means, with the standard "
            "deviation of antithetic samples",
            later(_PREPARING, "refined_system"), later(_SAMPLING, "posterior_mean"), mean_plan,
            _SAMPLER | {"denoiser_variance"}, cost=0.15, shown=True,
        ),
        Method(
            "stochastic-dds", "stochastic DDS",
            "the mean of independent posterior samples, each step an exact conditional draw",
            later(_PREPARING, "refined_system"), later(_SAMPLING, "stochastic_dds"), stochastic_dds_plan,
            _SAMPLER | {"denoiser_variance"}, cost=0.15,
        ),
        Method(
            "pula", "pULA",
            "preconditioned annealed Langevin dynamics with the same prior (Luo 2023): slow, asymptotically exact",
            later(_PREPARING, "refined_system"), later(_SAMPLING, "pula"), pula_plan, _SAMPLER, cost=0.15,
        ),
        Method(
            "dds", "DDS",
            "decomposed diffusion sampling with the same prior (Chung 2024): the textbook method",
            later(_PREPARING, "refined_system"), later(_SAMPLING, "dds"), dds_plan, _SAMPLER, cost=0.15,
        ),
        Method(
            "pigdm", "PiGDM",
            "pseudoinverse-guided diffusion with the same prior (Song 2023), guided through the network",
            later(_PREPARING, "refined_system"), later(_SAMPLING, "pigdm"), pigdm_plan, _SAMPLER, cost=0.4,
        ),
        Method(
            "daps", "DAPS",
            "decoupled annealing posterior sampling with the same prior (Zhang 2025)",
            later(_PREPARING, "refined_system"), later(_SAMPLING, "daps"), daps_plan, _SAMPLER, cost=0.15,
        ),
        Method(
            "dps", "DPS",
            "diffusion posterior sampling with the same prior (Chung 2023), as in arXiv:2603.13007; set --weight",
            later(_PREPARING, "refined_system"), later(_SAMPLING, "dps"), dps_plan, _SAMPLER | {"weight"},
            Tuning(later(_TUNING, "dps_weights"), always=True), cost=0.4,
        ),
        Method(
            "zero-filled", "zero-filled", "the acquired samples alone, the others taken as zero",
            later(_PREPARING, "calibrated"), later(_CLASSICAL, "zero_filled"), cost=0.3, shown=True,
        ),
        Method(
            "grappa", "GRAPPA", "missing lines from their neighbours (Griswold 2002); lines, and lattices in a plane",
            later(_PREPARING, "calibrated"), later(_CLASSICAL, "grappa"), cost=2.0, shown=True, masks=(1,),
        ),
        Method(
            "sense", "CG-SENSE", "regularised least squares with coil maps (Pruessmann 2001)",
            later(_PREPARING, "calibrated_system"), later(_CLASSICAL, "cg_sense"), reads=frozenset({"weight"}),
            tuning=Tuning(later(_TUNING, "sense_weights")), cost=0.5, shown=True,
        ),
        Method(
            "l1-wavelet", "L1-wavelet", "compressed sensing (Lustig 2007), solved by sigpy",
            later(_PREPARING, "calibrated"), later(_CLASSICAL, "l1_wavelet"), reads=frozenset({"weight"}),
            tuning=Tuning(later(_TUNING, "wavelet_weights")), cost=4.0, shown=True,
        ),
    )
}  # fmt: skip

SPECIFIC = frozenset().union(*(row.reads for row in METHODS.values()))
"""Options that not every method reads."""


def method_of(options: ReconstructionOptions) -> Method:
    """The row of ``options.method``. Raises ReconError for a name that is in no row, and for an option that is given
    although the method does not read it."""
    row = METHODS.get(options.method)
    if row is None:
        raise ReconError(f"unknown method '{options.method}'; choose from {names()}")
    for entry in fields(options):
        unread = entry.name in SPECIFIC and entry.name not in row.reads
        if unread and getattr(options, entry.name) != entry.default:
            option = entry.name.replace("_", "-")
            raise ReconError(f"--{option} has no meaning for method '{row.name}': it is read by {readers(entry.name)}")
    return row


def options_of(row: Method, options: ReconstructionOptions) -> ReconstructionOptions:
    """``options`` for one method of several: without those that it does not read."""
    unread = {entry.name: entry.default for entry in fields(options) if entry.name in SPECIFIC - row.reads}
    return replace(options, **{**unread, "method": row.name})  # type: ignore[arg-type]


def names(rows: Callable[[Method], bool] = lambda row: True) -> str:
    """The names of the methods, or of some, with commas between."""
    return ", ".join(row.name for row in METHODS.values() if rows(row))


def readers(option: str) -> str:
    """The names of the methods that read an option."""
    return names(lambda row: option in row.reads)


def described() -> str:
    """Every method in one sentence, for help texts."""
    return "; ".join(f"{row.name}: {row.help}" for row in METHODS.values())

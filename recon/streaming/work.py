"""How a streamed scan is reconstructed: by the method asked for, or by CG-SENSE when the prior refuses or is late."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from recon.errors import ReconError
from recon.reconstruction.methods import METHODS, options_of
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import Solver, scan_warnings, solver_for
from recon.reconstruction.slicewise import FALLBACK, SliceResult, reconstruct_slice, without_prior
from recon.scan import Scan

if TYPE_CHECKING:
    from recon.prior.store import Prior


class OutOfTime(Exception):
    """The deadline has come while a sampler was at work."""


@dataclass(frozen=True)
class Service:
    """What a server does with every scan. ``deadline``: seconds after the last line in which the prior must be done.
    ``at_end``: nothing is reconstructed before the peer has closed. ``save``: folder for the results; ``watch``: what
    looks at each of them and says in a few words what it found; ``deliver``: likewise, what exports and sends it."""

    options: ReconstructionOptions
    prior: "Prior | None" = None
    device: str = "cpu"
    deadline: float | None = None
    at_end: bool = False
    save: Path | None = None
    watch: Callable[[Path], str] | None = None
    deliver: Callable[[Path, Scan], str] | None = None


@dataclass
class Work:
    """The reconstruction of one scan, slice by slice. ``fallback``: why the prior is no longer asked, if it is not."""

    solver: Solver
    warnings: list[str]
    fallback: str | None = None
    said: list[str] = field(default_factory=list)  # reasons that were not yet told to the peer

    def slice(self, index: int, finished: Callable[[], float | None], deadline: float | None) -> SliceResult:
        """Reconstruct one slice; ``finished()`` is when the last line came. Raises ReconError when it cannot be done
        without the prior either."""

        def step() -> None:
            moment = finished()
            if deadline is not None and moment is not None and time.monotonic() > moment + deadline:
                raise OutOfTime

        if self.solver.plan is not None:
            try:
                step()
                return reconstruct_slice(self.solver, index, step)
            except OutOfTime:
                self._fall_back(f"the deadline of {deadline:g} s after the last line has passed")
            except ReconError as error:
                self._fall_back(f"the prior refused: {error}")
        return reconstruct_slice(self.solver, index)

    def _fall_back(self, reason: str) -> None:
        self.solver, self.fallback = without_prior(self.solver), reason
        self.said.append(f"reconstructed without the prior by {FALLBACK}: {reason}")


def begin(service: Service, scan: Scan) -> Work:
    """What is estimated once a scan. Raises ReconError when it cannot be reconstructed without the prior either."""
    try:
        solver = solver_for(scan, service.options, service.prior, device=service.device)
        return Work(solver, scan_warnings(solver))
    except ReconError as error:
        if service.prior is None:
            raise
        plain = options_of(METHODS[FALLBACK], service.options)
        solver = solver_for(scan, plain, device=service.device)
        work = Work(solver, scan_warnings(solver), f"the prior refused: {error}")
        work.said.append(f"reconstructed without the prior by {FALLBACK}: the prior refused: {error}")
        return work

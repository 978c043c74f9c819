"""Which series may be accelerated? What a study model loses when series are acquired faster, each alone and all.

Fully sampled scans are undersampled, reconstructed by the one pipeline, and put in the place of the complete series.
The complete series is the pipeline's image of all that was measured, so the change is that of the acceleration. The
two images of a diffusion examination are one series: the ADC is calculated from what both have become.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from recon.encode.volumes import Series
from recon.errors import ReconError
from recon.progress import Report, silent
from recon.reconstruction.methods import METHODS
from recon.study.contrasts import ACQUIRED_TOGETHER
from recon.study.images import Reconstructions, b_value_of, check_persons, is_scan
from recon.study.options import AccelerationOptions
from recon.study.prediction import predict
from recon.study.scores import Figures, StudyScore, figures, score
from recon.study.store import StudyModel
from recon.study.table import Study
from recon.study.volume import study_volume

TOGETHER = "all"


@dataclass(frozen=True)
class AccelerationResult:
    """One series (or all) at one acceleration by one method; changes are those from complete series."""

    series: str
    acceleration: float
    net_acceleration: float
    method: str
    figures: Figures


@dataclass(frozen=True)
class AccelerationReport:
    """What complete studies give, and what acceleration makes of it."""

    complete: Figures
    results: tuple[AccelerationResult, ...]
    series: tuple[str, ...]


def accelerated_together(study: Study) -> dict[str, tuple[str, ...]]:
    """The series of a study that hold k-space, each with the files that are acquired together."""
    groups = {}
    for contrast in study.contrasts:
        files = tuple(name for name in ACQUIRED_TOGETHER.get(contrast, (contrast,)) if name in study.files)
        if files and all(is_scan(study.files[name]) for name in files):
            groups[contrast] = files
    return groups


def common_series(studies: Sequence[Study]) -> tuple[str, ...]:
    """The series that can be accelerated in every study."""
    groups = [accelerated_together(study) for study in studies]
    return tuple(name for name in groups[0] if all(name in group for group in groups)) if groups else ()


def what_acceleration_costs(
    model: StudyModel,
    studies: Sequence[Study],
    reconstructions: Reconstructions,
    options: AccelerationOptions,
    report: Report = silent,
) -> AccelerationReport:
    """Every labelled study under every condition. Reconstructions are kept, so an interrupted run continues.

    Raises ReconError for an unknown method, a scan that is not fully sampled, or a study that cannot be read.
    """
    for method in options.methods:
        if method not in METHODS:
            raise ReconError(f"method '{method}' is unknown; choose from {', '.join(METHODS)}")
    series = common_series(studies)
    if not series:
        raise ReconError("no series is a fully sampled scan in every study, so nothing can be accelerated")
    conditions = [(rate, method) for rate in options.accelerations for method in options.methods]
    complete: list[StudyScore] = []
    scores: dict[tuple[str, float, str], list[StudyScore]] = {}
    net: dict[tuple[str, float, str], list[float]] = {}
    for number, study in enumerate(studies):

        def told(part: float, name: str = study.name, number: int = number) -> None:
            report(name, (number + part) / len(studies))

        told(0.0)
        check_persons(study, reconstructions)
        whole = {contrast: reconstructions.complete(path) for contrast, path in study.files.items()}
        complete.append(_score(model, study, whole, reconstructions, options))
        for step, (rate, method) in enumerate(conditions):
            told((step + 0.5) / (len(conditions) + 1))
            for name, swapped, nets in _accelerated(
                study, whole, series, reconstructions, (rate, method, options.mask)
            ):
                key = (name, rate, method)
                scores.setdefault(key, []).append(_score(model, study, swapped, reconstructions, options))
                net.setdefault(key, []).extend(nets)
        reconstructions.opened.clear()
    results = [
        AccelerationResult(
            name, rate, sum(net[key]) / len(net[key]), method, figures(found, complete, options.repeats, options.seed)
        )
        for key, found in scores.items()
        for name, rate, method in [key]
    ]
    return AccelerationReport(figures(complete, None, options.repeats, options.seed), tuple(results), series)


def _accelerated(
    study: Study,
    whole: Mapping[str, Series],
    series: Sequence[str],
    reconstructions: Reconstructions,
    condition: tuple[float, str, str],
) -> Iterator[tuple[str, dict[str, Series], list[float]]]:
    """The study with each series accelerated alone, then with all; and the net accelerations."""
    rate, method, mask = condition
    groups = accelerated_together(study)
    every = dict(whole)
    all_nets: list[float] = []
    for name in series:
        fast = {
            contrast: reconstructions.accelerated(study.files[contrast], rate, method, mask)
            for contrast in groups[name]
        }
        images, nets = {c: image for c, (image, _) in fast.items()}, [net for _, net in fast.values()]
        every |= images
        all_nets += nets
        yield name, {**whole, **images}, nets
    if len(series) > 1:
        yield TOGETHER, every, all_nets


def _score(
    model: StudyModel,
    study: Study,
    series: Mapping[str, Series],
    reconstructions: Reconstructions,
    options: AccelerationOptions,
) -> StudyScore:
    ordered = {contrast: series[contrast] for contrast in study.files}
    volume = study_volume(study, ordered, b_value_of(study, reconstructions), model.options.grid)
    return score(volume, predict(model, volume), options.threshold)

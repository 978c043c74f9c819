"""From results and true vessels to traced cases, and F1 of pruning by branch with intervals over persons."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import ReconError, naming
from recon.images.grid import on_grid
from recon.images.references import read_lesions, read_reference
from recon.images.result import result_attributes
from recon.images.volume import is_result
from recon.progress import Report, silent
from recon.quality.lesions import lesion_mask
from recon.quality.pairing import pair, scan_name
from recon.quality.person_interval import person_interval
from recon.seeding import numpy_generator
from recon.vessels.graph import branch_truth, trace
from recon.vessels.pruning import JUDGES, Pruning, TracedCase, f1


def traced_cases(
    images: Sequence[Path], truths: Sequence[Path], threshold: float, report: Report = silent
) -> list[TracedCase]:
    """The graph of every image (result, scan, NIfTI), each branch judged by the true vessels; see ``pairing.pair``.

    A person is told by the scan's name. Raises ReconError when files cannot be read or paired.
    """
    if not images:
        raise ReconError("no angiograms given")
    stored = [result_attributes(path) if is_result(path) else {} for path in images]
    names = [str(known.get("scan_name", scan_name(path))) for path, known in zip(images, stored, strict=True)]
    found = []
    for number, (path, known, name, truth) in enumerate(
        zip(images, stored, names, pair(names, truths, "truth"), strict=True)
    ):
        report(f"tracing {name}", number / len(images))
        with naming(path):
            image = read_reference(path)
            vessels = lesion_mask(on_grid(read_lesions(truth), image.values.shape, image.affine, "vessel mask"))
            graph = trace(image.values, threshold)
        method, rate = str(known.get("method", "fully sampled")), float(known.get("acceleration", 1.0))
        found.append(TracedCase(name, name, method, rate, graph, branch_truth(graph, vessels)))
    return found


def pruning_table(cases: Sequence[TracedCase], pruning: Pruning, repeats: int, seed: int) -> list[dict[str, Any]]:
    """A row for every method and acceleration (to a tenth): F1 of each judge over all branches, with 95 % intervals of
    a bootstrap of persons, and the attention network's gain over the control.

    Raises ReconError when a person that the judges were fitted on is among them.
    """
    if leaked := {case.person for case in cases} & set(pruning.persons):
        raise ReconError(f"leakage: {len(leaked)} person(s) were in the fit (such as {min(leaked)}); give others")
    groups: dict[tuple[str, float], list[TracedCase]] = {}
    for case in cases:
        groups.setdefault((case.method, round(case.acceleration, 1)), []).append(case)
    rows = []
    for (method, rate), members in sorted(groups.items(), key=lambda entry: (entry[0][1], entry[0][0])):
        persons = sorted({case.person for case in members})
        counts = np.zeros((len(JUDGES), len(persons), 3))
        for case in members:
            for index, judge in enumerate(JUDGES):
                kept = pruning.kept(case.graph, judge)
                counts[index, persons.index(case.person)] += (kept & case.truth).sum(), kept.sum(), case.truth.sum()
        draws = numpy_generator(seed, "vessels").integers(len(persons), size=(repeats, len(persons)))
        row: dict[str, Any] = {
            "method": method, "acceleration": rate, "persons": len(persons),
            "branches": int(counts[0, :, 1].sum()), "vessels": int(counts[0, :, 2].sum()),
        }  # fmt: skip
        drawn = {}
        for index, judge in enumerate(JUDGES):
            key = f"f1_{judge.replace('-', '_')}"
            row[key] = f1(*counts[index].sum(axis=0))
            drawn[judge] = np.array([f1(*counts[index][draw].sum(axis=0)) for draw in draws])
            row[f"{key}_low"], row[f"{key}_high"] = person_interval(drawn[judge], len(persons)) or (None, None)
        row["gain"] = row["f1_attention"] - row["f1_logistic"]
        row["gain_low"], row["gain_high"] = person_interval(drawn["attention"] - drawn["logistic"], len(persons)) or (
            None,
            None,
        )
        rows.append(row)
    return rows

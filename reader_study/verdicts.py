"""The adjudicator's scores in the place of the readers' who disagreed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reader_study.allocation import Presentation
from reader_study.observations import Observations, orient
from reader_study.sheet import Sheet
from reader_study.study import Study


@dataclass(frozen=True)
class Verdicts:
    """``compared`` images were scored by two readers; by item ``disagreed`` of them, and ``decided`` of these."""

    compared: int
    disagreed: Mapping[str, int]
    decided: Mapping[str, int]


def adjudicated(
    study: Study, key: Sequence[Presentation], sheets: Sequence[Sheet], found: Observations
) -> Observations:
    """``found`` with ``decided`` scores: the adjudicator's for every reader of an image on which they disagreed.

    ``key`` has the presentations of the key and of added readers, ``sheets`` everything that came back.
    """
    rule, done = study.protocol.adjudication, study.adjudicated
    if rule is None or done is None:
        return found
    rows = {row.id: row for row in key}
    answers = {
        row.presentation: row.scores for sheet in sheets if sheet.reader == rule.reader for row in sheet.responses
    }
    scores = {name: found.scores[name].copy() for name in rule.items}
    disagreed, decided = dict.fromkeys(rule.items, 0), dict.fromkeys(rule.items, 0)
    for name, shows in done.said.shows.items():
        row = rows[shows.presentation]
        at = study.protocol.arm_names.index(row.arms[0]), slice(None), found.cases.index(row.case)
        for item in shows.items:
            disagreed[item] += 1
            if item in answers.get(name, {}):
                decided[item] += 1
                verdict = orient(study.protocol.item(item), np.array(float(answers[name][item])))
                given = scores[item][at]
                scores[item][at] = np.where(np.isfinite(given), verdict, given)
    return replace(found, adjudicated=scores, verdicts=Verdicts(done.said.compared, disagreed, decided))

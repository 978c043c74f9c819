"""The table of statistics, in the order of the report. A new one is one module and one row."""

from typing import Any

from reader_study.analyses.adjudication import ADJUDICATION
from reader_study.analyses.blinding import BLINDING
from reader_study.analyses.descriptive import DESCRIPTIVE
from reader_study.analyses.drift import DRIFT
from reader_study.analyses.flags import FLAGS
from reader_study.analyses.interchangeability import INTERCHANGEABILITY
from reader_study.analyses.localisation import LOCALISATION
from reader_study.analyses.missing import MISSING
from reader_study.analyses.ordinal import ORDINAL
from reader_study.analyses.preference import PREFERENCE
from reader_study.analyses.reading_time import READING_TIME
from reader_study.analyses.reliability import RELIABILITY
from reader_study.analyses.repeatability import REPEATABILITY
from reader_study.analyses.roc import ROC
from reader_study.analyses.signed_rank import SIGNED_RANK
from reader_study.analyses.statistic import Statistic
from reader_study.analyses.subsets import SUBSETS

STATISTICS: tuple[Statistic[Any], ...] = (
    ROC,
    LOCALISATION,
    DESCRIPTIVE,
    ADJUDICATION,
    SUBSETS,
    SIGNED_RANK,
    ORDINAL,
    MISSING,
    PREFERENCE,
    INTERCHANGEABILITY,
    RELIABILITY,
    REPEATABILITY,
    DRIFT,
    BLINDING,
    FLAGS,
    READING_TIME,
)

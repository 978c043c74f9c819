"""From checked scores and the opened key to observations with known arms, and where they came from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reader_study.added_reader import with_added
from reader_study.case_subsets import achieved
from reader_study.conduct import Conduct, conduct
from reader_study.deviations import deviations
from reader_study.lesion_truth import frozen_lesions, mask_files
from reader_study.localised import locate
from reader_study.observations import Observations, check_same_sheets, from_sheets, from_table
from reader_study.opened_key import check_opened_key, read_opened_key
from reader_study.protocol import Protocol, load_protocol
from reader_study.provenance import Provenance
from reader_study.scores import collect, find_sheets, is_sheet
from reader_study.seal import Key
from reader_study.study import OPENED_KEY, Study, open_study
from reader_study.tables import ColumnMap, read_table
from reader_study.unsealing import require_complete
from reader_study.verdicts import adjudicated
from recon.errors import ReconError


@dataclass(frozen=True)
class Unblinded:
    """What the analysis needs."""

    protocol: Protocol
    observations: Observations
    provenance: Provenance


def sealed(
    folder: str | Path,
    paths: Sequence[str | Path] | None = None,
    key_path: str | Path | None = None,
    columns: ColumnMap | None = None,
    notice: str = "",
    version: str = "",
    expect_head: str | None = None,
    lesions: str | None = None,
) -> Unblinded:
    """Scores of a sealed study, unblinded with its opened key. ``expect_head``: a hash of the log noted earlier.

    ``lesions``: the pattern of the lesion masks, where lesions were marked. Raises ReconError for a mask other than
    those that were frozen, a bad sheet, a reading that is missing without a logged deviation, a key that is not the
    committed one or was never unsealed, and sheets other than those that stood at the unsealing.
    """
    study = open_study(folder, expect_head)
    collected = collect(study, paths, columns)
    require_complete(study, collected.sheets)
    key = read_opened_key(key_path or study.folder / OPENED_KEY)
    check_opened_key(study, key)
    check_same_sheets(study, collected.sheets)
    per_protocol = study.protocol.primary.population == "per-protocol"
    # What a deviation of kind missing excuses is not there; the rest of the session is as good as ever.
    logged = [deviation for deviation in deviations(study.entries) if deviation.kind != "missing"]
    excluded = logged if per_protocol else ()
    rows = with_added(study, key.presentations)
    read = [sheet for sheet in collected.sheets if sheet.reader in study.readers]
    own = from_sheets(study.protocol, rows, read, excluded, study.readers)
    own = _located(study, key, own, lesions)
    observations = adjudicated(study, rows, collected.sheets, own)
    happened = conduct(study, collected.sheets, expect_head)
    if study.protocol.readers_per_case is not None:
        reached = achieved(study.protocol, ((row.reader, row.case) for row in key.presentations))
        happened = replace(happened, facts=(*happened.facts, f"Case subsets, as exported: {reached}."))
    provenance = Provenance(
        study=study.folder.name,
        protocol_version=f"version {study.version}",
        log_head=study.head,
        deviations=tuple(str(deviation) for deviation in deviations(study.entries)),
        unsigned=collected.unsigned,
        conduct=happened,
        notice=notice,
        version=version,
    )
    return Unblinded(study.protocol, observations, provenance)


def _located(study: Study, key: Key, found: Observations, lesions: str | None) -> Observations:
    """With the marks judged by the frozen lesions, where lesions were marked."""
    if study.protocol.localisation is None:
        if lesions is not None:
            mask_files(study.protocol, lesions)  # says that nobody marks lesions
        return found
    known = frozen_lesions(study.protocol, lesions, study.require_export().said.lesions)
    return replace(found, located=locate(study.protocol, found.marked, found.readers, known, key.images))


def open_label(
    protocol_path: str | Path,
    paths: Sequence[str | Path],
    columns: ColumnMap | None = None,
    notice: str = "",
    version: str = "",
) -> Unblinded:
    """Scores from tables with case and arm columns, for studies that were read without a sealed package.

    Raises ReconError for a signed sheet (it needs its study folder) and for everything ``read_table`` refuses.
    """
    protocol = load_protocol(protocol_path)
    files = find_sheets(paths)
    for path in files:
        if is_sheet(path):
            raise ReconError(f"{path}: a score sheet needs its study folder; give the folder instead of the protocol")
    if protocol.localisation is not None:
        raise ReconError(f"{protocol_path}: marks of lesions are judged by a study's key; give the study folder")
    unknown = ["When, in which order and how blinded the scores were given."]
    if protocol.readers_per_case is not None:
        unknown.append("Which reader was to read which case: a case without any score of a reader counts as not his.")
    rows = [row for path in files for row in read_table(path, protocol, columns or ColumnMap(case="case", arm="arm"))]
    provenance = Provenance(
        study=str(protocol_path),
        protocol_version="not frozen",
        log_head="",
        unsigned=tuple(path.name for path in files),
        sealed=False,
        conduct=Conduct(unknown=tuple(unknown)),
        notice=notice,
        version=version,
    )
    return Unblinded(protocol, from_table(protocol, rows), provenance)

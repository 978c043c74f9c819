"""The key, unlocked by its passphrase or opened before: held against the export's commitment, packages and protocol."""

from pathlib import Path

from reader_study.packages import copy_of
from reader_study.pseudonyms import NAME
from reader_study.seal import Key, key_in, open_key
from reader_study.study import KEY, Study
from recon.errors import ReconError


def unlock(study: Study, passphrase: str) -> Key:
    """The sealed key. Raises ReconError as ``open_key`` does, and where it does not fit the study."""
    export = study.require_export().said
    key = open_key(study.folder / KEY, passphrase, export.sealed_key_sha256, export.commitment)
    _check_fits(study, key)
    return key


def read_opened_key(path: str | Path) -> Key:
    """The opened key as ``unseal`` writes it. Raises ReconError when it is missing or not one."""
    path = Path(path)
    if not path.is_file():
        raise ReconError(f"{path}: no opened key; run 'recon reader-study unseal' when all scores are in")
    try:
        return key_in(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ReconError(f"{path}: not an opened key of recon ({error}); remove it and unseal again") from error


def check_opened_key(study: Study, key: Key) -> None:
    """Is this the key that the export committed to, and was it opened through ``unseal``?

    Raises ReconError when the key was changed after it was opened, when it does not fit packages and protocol, or the
    log has no unsealing.
    """
    if key.commitment != study.require_export().said.commitment:
        raise ReconError(f"{study.folder}: this key is not the one committed to at the export; unseal again")
    _check_fits(study, key)
    if not study.unsealed:
        raise ReconError(f"{study.folder}: the key was never unsealed; run 'recon reader-study unseal' first")


def _check_fits(study: Study, key: Key) -> None:
    """Raises ReconError where the key does not deal the packages' presentations to the protocol's cases and arms."""
    protocol = study.protocol
    planned = {reader.id for reader in protocol.readers}
    asked = {
        (entry.id, package.reader, package.session, entry.order, entry.training, entry.guess)
        for package in (*study.packages, *study.reserved)
        if package.reader in planned
        for entry in package.presentations
    }
    rows = key.presentations
    told = {(row.id, row.reader, row.session, row.order, row.kind == "training", row.guess) for row in rows}
    wrong = "other presentations than the packages" if told != asked or len(rows) > len(told) else ""
    for row in rows:
        arms = set(row.arms) if len(row.arms) == (2 if protocol.paired else 1) else set()
        if row.case not in (protocol.training_cases if row.kind == "training" else protocol.case_ids):
            wrong = wrong or f"case {row.case!r}, which the protocol does not have"
        if not arms <= set(protocol.arm_names) or len(arms) < len(protocol.arm_names if protocol.paired else "1"):
            wrong = wrong or f"arms {', '.join(row.arms)!r} in one presentation"
    images = {(image.case, image.copy, image.arm, image.sequence) for image in key.images}
    cases = {(case, copy) for case, copy, *_ in images}
    if images or protocol.localisation is not None:
        cases |= {(row.case, copy_of(row)) for row in rows}
    needed = {(*one, arm, name) for one in cases for arm in protocol.arm_names for name in protocol.sequence_names}
    if images != needed or not all(NAME.fullmatch(image.id) for image in key.images):
        wrong = wrong or "other images than the presentations show"
    if wrong or key.study != protocol.hash:
        raise ReconError(f"{study.folder}: the key is of {wrong or 'another study'}; restore key and log from a copy")

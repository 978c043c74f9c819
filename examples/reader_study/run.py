"""A whole reader study from plan to report, on SIMULATED images and SIMULATED readers, in one command:

    python examples/reader_study/run.py                   # two arms, 101 cases
    python examples/reader_study/run.py three-arms.yaml   # three arms, 18 cases, a few seconds

It runs the commands a coordinator would type and prints each of them. About a minute on two cores; everything lands in
``out/reader-study-example`` (or the folder that ``--out`` names), the report in ``report/report.html``.
"""

import argparse
import secrets
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest.mock import patch

from phantoms import write_images
from simulated_readers import read_session

from cli.main import main
from reader_study.protocol import load_protocol
from reader_study.study import open_study

# The log's time is simulated as well: five weeks of reading pass in a minute.
PLANNED = datetime(2026, 1, 2, 9, tzinfo=timezone.utc)
FIRST_SESSION, WEEKS_BETWEEN = datetime(2026, 1, 5, 9, tzinfo=timezone.utc), 5

HERE = Path(__file__).resolve().parent
SEED = 20260105
NOTICE = "SIMULATED images and SIMULATED readers: no person read these, nothing here is a finding"


def recon(*words: object) -> None:
    """Run one ``recon`` command as from the terminal; stop where it fails."""
    line = [str(word) for word in words]
    print(f"\n$ recon {' '.join(f'{word!r}' if ' ' in word else word for word in line)}", flush=True)
    try:
        main(line)
    except SystemExit as finished:
        if finished.code:
            raise


def run(protocol_file: Path, folder: Path, read: Callable[[Path, Path, int, datetime], int] = read_session) -> None:
    """Every step of the study of this protocol in ``folder``, which must not exist yet.

    ``read`` reads one package, puts its sheet into a folder and gives the number of images; see ``read_session``.
    """
    if folder.exists():
        raise SystemExit(f"{folder} exists already; name another one with --out FOLDER")
    folder.mkdir(parents=True)
    started = time.perf_counter()
    study = folder / "study"
    protocol = load_protocol(protocol_file)
    # In a real study the passphrase is chosen, and kept, by somebody who neither reads nor analyses.
    passphrase = folder / "passphrase.txt"
    passphrase.touch(mode=0o600)
    passphrase.write_text(" ".join(secrets.token_hex(3) for _ in range(4)) + "\n")

    print(f"simulated images of {len(protocol.case_ids)} cases in {len(protocol.arms)} arms ...", flush=True)
    write_images(folder / "images", (*protocol.case_ids, *protocol.training_cases), protocol.arm_names, SEED)

    clock = PLANNED
    with patch("reader_study.audit_log.now", lambda: clock):
        recon("reader-study", "power", protocol_file, "--replicates", 2000, "--effect", 0, "--effect", -0.1)
        recon("reader-study", "plan", protocol_file, "--out", study)
        images = f"{folder}/images/{{arm}}/{{case}}.nii.gz"
        recon("reader-study", "export", study, "--images", images, "--passphrase-file", passphrase)
        recon("reader-study", "check", study)
        recon("reader-study", "status", study)

        print("\nsimulated readers read their packages ...", flush=True)
        for package in open_study(study).packages:
            begins = FIRST_SESSION + timedelta(weeks=WEEKS_BETWEEN * (package.session - 1))
            count = read(study / package.folder, study / "sheets", SEED, begins)
            print(f"  {package.reader} (simulated), session {package.session}: {count} images", flush=True)

        clock = FIRST_SESSION + timedelta(weeks=WEEKS_BETWEEN * protocol.sessions.count)
        recon("reader-study", "check", study, "--sheets", study / "sheets")
        recon("reader-study", "status", study)
        reason = "all simulated readings are in"
        recon("reader-study", "unseal", study, "--reason", reason, "--passphrase-file", passphrase)
        recon("reader-study", "analyze", study, "--out", folder / "report", "--notice", NOTICE)
    print(f"\n{time.perf_counter() - started:.0f} s; open {folder / 'report' / 'report.html'}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", nargs="?", default="protocol.yaml", help="a protocol of this folder")
    parser.add_argument("--out", type=Path, default=Path("out") / "reader-study-example")
    chosen = parser.parse_args()
    run(HERE / chosen.protocol, chosen.out)

"""The paper's experiment in miniature (arXiv:2603.13007): pre-train on other contrasts, fine-tune on 20 FLAIR patients.

    python examples/stroke_flair/run.py --out DIR [--quick] [--stage NAME]

Stages run in order and keep what they finished: the same command continues after an interruption. Everything is
simulated or semi-synthetic (real heads and lesion shapes from RECON_SHARED_DATA where present).

    simulate   cohorts of raw scans         prepare    training images
    pretrain   the strategies' priors   finetune   strategies 2 and 4, chosen automatically
    grid       rate x length on TEST        evaluate   NRMSE of all strategies on TEST
    report     REPORT.md, figures
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cohorts import prepare, simulate
from evaluation import evaluate
from experiment import STRATEGIES, Experiment, Work, say, store
from training import finetune, grid, pretrain

from recon.configuration import load_config
from recon.errors import ReconError

HERE = Path(__file__).resolve().parent


def report(work: Work) -> None:
    """REPORT.md, its figures and results.json from what the other stages left."""
    from report import write_report

    write_report(work.experiment, work.out, STRATEGIES)
    say(f"report: {work.path('REPORT.md')}")


STAGES: dict[str, Callable[[Work], None]] = {
    "simulate": simulate, "prepare": prepare, "pretrain": pretrain, "finetune": finetune, "grid": grid,
    "evaluate": evaluate, "report": report,
}  # fmt: skip


def main() -> None:
    """Parse the command line and run the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--quick", action="store_true", help="minutes instead of hours; shows that it works, no more")
    parser.add_argument("--config", type=Path, help="another configuration")
    parser.add_argument("--stage", choices=list(STAGES), action="append", help="run only this stage (repeatable)")
    parser.add_argument("--threads", type=int, default=0, help="processor threads; 0 leaves them as they are")
    arguments = parser.parse_args()
    try:
        experiment = load_config(
            Experiment, arguments.config or HERE / ("quick.yaml" if arguments.quick else "config.yaml")
        )
        import torch

        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        work = Work(experiment, arguments.out)
        timing = work.path("seconds.json")
        seconds = json.loads(timing.read_text()) if timing.is_file() else {}
        for name in arguments.stage or STAGES:
            wall, processor = time.monotonic(), time.process_time()
            STAGES[name](work)
            before = seconds.get(name, [0.0, 0.0])
            # Wall time, and processor time of this process (preparation's worker processes are not in it).
            seconds[name] = [before[0] + time.monotonic() - wall, before[1] + time.process_time() - processor]
            store(timing, seconds)
            say(f"stage {name}: {seconds[name][0]:.0f} s, {seconds[name][1]:.0f} s of processor time")
    except ReconError as error:
        sys.exit(f"run.py: {error}")


if __name__ == "__main__":
    main()

"""The long part: ``python -m tests.fuzzing --mutants 4000`` prints the table by class and every offender."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.fuzzing.campaign import Finding, campaign, mutants_of, table_of
from tests.fuzzing.driving import ACCEPTED, REFUSED
from tests.fuzzing.seeds import make_seeds
from tests.fuzzing.targets import ROWS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("--mutants", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=ROWS, help="a class; repeat for several")
    parser.add_argument("--mutant", action="append", default=[], help="only this one, by the name that was printed")
    parser.add_argument("--seconds", type=float, default=60.0, help="that one mutant may take")
    parser.add_argument("--all", action="store_true", help="print every verdict, not only the offenders")
    given = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seeds = make_seeds(Path(folder))
        mutants = mutants_of(given.mutants, given.seed, tuple(given.only or ROWS))
        if given.mutant:
            mutants = [mutant for mutant in mutants if mutant.name in given.mutant]
        findings: list[Finding] = []
        for found in campaign(mutants, seeds, given.seconds):
            findings.append(found)
            if given.all or found.verdict.column not in (ACCEPTED, REFUSED):
                print(found.line(), flush=True)
    print("\n".join(["", *table_of(findings)]))
    print(f"\n{len(findings)} mutants, seed {given.seed}, {time.monotonic() - began:.0f} s")
    return int(any(found.verdict.column not in (ACCEPTED, REFUSED) for found in findings))


sys.exit(main())

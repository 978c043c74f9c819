"""Faults on purpose: ``python -m tests.faults --kills 200`` prints what every command made of them.

Exit code 1 when something was found.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.faults.devices import build as build_library
from tests.faults.devices import is_preloaded

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="signals at random moments, over all commands")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--commands", nargs="*", default=None, help="only these")
    parser.add_argument("--faults", nargs="*", default=None, help="only these of the others")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not is_preloaded() and (library := build_library(Path(folder))):
            words = [sys.executable, "-m", "tests.faults", *sys.argv[1:]]
            return subprocess.run(words, env={**os.environ, "LD_PRELOAD": str(library)}, check=False).returncode
    if not is_preloaded():
        print("no C compiler: devices that fail are left out")

    import torch

    torch.set_num_threads(1)  # no pool of threads, which forked processes would wait for
    from tests.faults.kills import kill_once, moments, undisturbed
    from tests.faults.world import COMMANDS, build
    from tests.faults.write_errors import faults, suffer

    commands = [COMMANDS[name] for name in chosen.commands or COMMANDS]
    chosen_faults = faults(chosen.faults)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        build(world, [command.name for command in commands])
        print(f"{'command':<17}{'seconds':>8}{'kills':>7}{'too late':>10}{'wrong':>7}   faults survived")
        for number, command in enumerate(commands):
            whole = undisturbed(command, world)
            count = chosen.kills * (number + 1) // len(commands) - chosen.kills * number // len(commands)
            found = [kill_once(command, world, whole, *one) for one in moments(count, chosen.seed + number)]
            suffered = {name: suffer(command, world, fault, whole) for name, fault in chosen_faults.items()}
            late = sum(not one.in_time for one in found)
            wrong = [text for one in found for text in (f"{one.signal} at {one.moment:.2f}: {w}" for w in one.wrong)]
            wrong += [f"{name}: {text}" for name, (_, texts) in suffered.items() for text in texts]
            survived = sum(not texts for _, texts in suffered.values())
            print(
                f"{command.name:<17}{whole.seconds:>8.1f}{count:>7}{late:>10}"
                f"{sum(bool(one.wrong) for one in found):>7}   {survived} of {len(suffered)} "
                f"(stopped by {sum(failed for failed, _ in suffered.values())})",
                flush=True,
            )
            for text, times in Counter(wrong).items():
                print(f"    {times} x {text}" if times > 1 else f"    {text}", flush=True)
            bad += len(wrong)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())

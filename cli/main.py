"""The ``recon`` command: the table of commands and the one place where errors become exit codes."""

import errno
import os
import sys
import traceback
import warnings
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli.lean_diffusers import keep_diffusers_lean
from cli.output import emit, note
from cli.signals import unwinding
from recon.errors import ReconError
from recon.foreign.trial import start_ahead
from recon.version import __version__

# Every command or group: what it is for, and the modules whose ``register`` adds it. A module is imported when its
# command is called, so that no command waits for the others.
COMMANDS = {
    "demo": ("The whole chain on a simulated stroke scan: every method side by side.", "cli.demonstration"),
    "info": ("What is in a scan, and whether it can be reconstructed.", "cli.scans"),
    "convert": ("Bring kspace of other origin into the fastMRI form.", "cli.scans"),
    "undersample": ("Keep only the kspace lines that a faster scan would have.", "cli.scans"),
    "simulate": ("Simulate brain scans with known truth.", "cli.simulation"),
    "prepare": ("Turn fully sampled scans into training images.", "cli.priors"),
    "pretrain": ("Train a diffusion prior.", "cli.priors"),
    "finetune": ("Fine-tune a prior on few patients.", "cli.finetuning"),
    "reconstruct": ("Reconstruct undersampled scans.", "cli.reconstruction"),
    "serve": ("Reconstruct scans that a scanner streams to a port (MRD).", "cli.streaming"),
    "send": ("Send a scan to an MRD server and keep its images.", "cli.streaming"),
    "evaluate": ("How close results are to a reference.", "cli.evaluation"),
    "interactive": ("What acceleration costs a segmentation by clicks.", "cli.interactive"),
    "adc": ("Diffusion coefficients from images of several b-values.", "cli.adc"),
    "benchmark": ("Compare methods on one scan.", "cli.benchmark"),
    "speed": ("What this machine does: seconds, memory, precision, training.", "cli.speed"),
    "uncertainty": ("Whether the standard deviation holds where the truth is known.", "cli.uncertainty"),
    "vessels": ("Pruning an over-traced graph of vessels, on simulated trees.", "cli.vessels"),
    "encode": ("What foundation models see of a reconstruction.", "cli.encode", "cli.encoder_pretraining"),
    "probe": ("Small classifiers on an encoder's embeddings.", "cli.probe"),
    "task": ("Adapters and heads on an encoder, trained for one label.", "cli.task"),
    "study": (
        "Which series of a study may be accelerated, judged by the infarct found.",
        "cli.study",
        "cli.study_planes",
    ),
    "monitor": ("A watch on what is deployed: has anything changed?", "cli.monitor"),
    "reader-study": ("Blinded reader studies, from protocol to report.", "cli.reader_study"),
}

# Commands that open HDF5 files of others first of all.
OPEN_FILES = frozenset({
    "info", "convert", "undersample", "prepare", "finetune", "reconstruct", "evaluate", "interactive", "benchmark",
    "uncertainty",
})  # fmt: skip

# Newer typer releases carry their own copy of click; its base error is found through what typer exports.
_ClickException: Any = typer.BadParameter.__mro__[2]

# How libraries say that memory ran out, but for MemoryError.
OUT_OF_MEMORY = (
    "can't allocate memory", "annot allocate memory", "out of memory", "failed to map segment", "bad_alloc",
    "nable to allocate", "ot enough memory", "can't start new thread",
)  # fmt: skip

INTERRUPTED = "recon: interrupted; nothing half-written is left, run the same command again to continue"


class CommandTable(TyperGroup):
    """The commands of ``COMMANDS``, each made when it is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        names: Any = dict.fromkeys(COMMANDS)
        self.commands.update(names)  # names for the list and for "did you mean"

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _command(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (summary, *_) in COMMANDS.items()])


app = typer.Typer(
    name="recon",
    cls=CommandTable,
    help="Accelerated MRI reconstruction with diffusion models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@cache
def _command(name: str) -> Any:
    """The command or group of that name, from the modules that make it."""
    part = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    for module in COMMANDS[name][1:]:
        import_module(module).register(part)
    command = typer.main.get_group(part).commands[name]
    _hide_types(command)
    return command


def _hide_types(command: Any) -> None:
    """Help in the words of ``metavar`` alone: newer typer releases put the Python type of an argument behind them."""
    for inner in getattr(command, "commands", {}).values():
        _hide_types(inner)
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None


def _version(wanted: bool) -> None:
    if wanted:
        emit({}, [f"recon {__version__}"], as_json=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    """Accelerated MRI reconstruction with diffusion models."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit codes: 0 success, 1 a check failed, 2 the user's mistake, 128 + number of the
    signal that ended it: 130 for Ctrl-C, 143 for the SIGTERM of schedulers, 129 for a closed terminal.

    A traceback appears only with ``--debug``, which may stand anywhere on the line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if any(not word or (word.startswith("--") and word.endswith("=")) for word in words):
        # As a path, nothing would be the working folder, whose scans a command takes and where it writes.
        note("recon: a word on the command line is empty: is a variable of the shell not set?")
        sys.exit(2)
    if not debug:
        warnings.showwarning = _show_warning
    with unwinding() as received:
        _run(words, debug, received)


def _run(words: list[str], debug: bool, received: list[int]) -> None:
    """Run the command; every way it can end is an exit code."""
    if words[:1] and words[0] in OPEN_FILES and "--help" not in words:
        start_ahead()
    keep_diffusers_lean()
    try:
        os.getcwd()
    except FileNotFoundError:  # some libraries end the process over it, in their own words
        note("recon: the working folder does not exist any more; change to another one")
        sys.exit(2)
    try:
        outcome = typer.main.get_command(app).main(args=words, prog_name="recon", standalone_mode=False)
    except (ReconError, _ClickException) as error:
        if debug:
            traceback.print_exc()
        message = error.format_message() if isinstance(error, _ClickException) else str(error)
        shows_help = type(error).__name__ == "NoArgsIsHelpError"
        note(message if shows_help else f"recon: {' '.join(message.split())}")
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        note(INTERRUPTED)
        sys.exit(128 + received[0] if received else 130)
    except Exception as error:
        if debug:
            raise
        text = " ".join(str(error).split())
        if remedy := _of_the_machine(error, text):
            note(f"recon: {text or type(error).__name__}; {remedy}")
            sys.exit(2)
        note(f"recon: unexpected {type(error).__name__}: {text}; run again with --debug and report the traceback")
        sys.exit(2)
    if outcome == 130:  # some typer releases turn the interruption into its exit code themselves
        note(INTERRUPTED)
        sys.exit(128 + received[0] if received else 130)
    sys.exit(outcome if isinstance(outcome, int) else 0)


def _of_the_machine(error: Exception, text: str) -> str:
    """What to do about an error of the machine (memory, disk, files ran out); empty for others."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError) or number == errno.ENOMEM or any(words in text for words in OUT_OF_MEMORY):
        return "not enough memory: close other programs, or work on fewer or smaller scans at once (--batch)"
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "the disk is full, or a limit on files is reached: free some space and run the same command again"
    if number in (errno.EMFILE, errno.ENFILE):
        return "too many open files: raise the limit (ulimit -n)"
    if number == errno.ENAMETOOLONG:
        return "choose a shorter name"
    if number in (errno.EIO, errno.EROFS):
        return "the device failed or cannot be written: try another one"
    return ""


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Our own warnings as one line; other packages' only with ``--debug``."""
    from recon.errors import ReconWarning

    if issubclass(category, ReconWarning):
        note(f"warning: {' '.join(str(message).split())}")


if __name__ == "__main__":
    main()

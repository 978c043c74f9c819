"""The ``recon`` command: the table of commands and the one place where errors become exit codes."""

import sys
import traceback
import warnings
from typing import Annotated, Any

import typer

from cli import (
    benchmark,
    demonstration,
    encode,
    encoder_pretraining,
    evaluation,
    finetuning,
    priors,
    probe,
    reader_study,
    reconstruction,
    scans,
    simulation,
)
from cli.output import emit, note
from recon.errors import ReconError
from recon.version import __version__

# Newer typer releases carry their own copy of click; its base error is found through what typer exports.
_ClickException: Any = typer.BadParameter.__mro__[2]

INTERRUPTED = "recon: interrupted; nothing half-written is left, run the same command again to continue"

app = typer.Typer(
    name="recon",
    help="Accelerated MRI reconstruction with diffusion models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
GROUPS = (
    demonstration,
    scans,
    simulation,
    priors,
    finetuning,
    reconstruction,
    evaluation,
    benchmark,
    encode,
    encoder_pretraining,
    probe,
    reader_study,
)
for group in GROUPS:
    group.register(app)


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
    """Run the command line. Exit codes: 0 success, 1 a check failed, 2 the user's mistake, 130 interrupted.

    A traceback appears only with ``--debug``, which may stand anywhere on the line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not debug:
        warnings.showwarning = _show_warning
    try:
        outcome = typer.main.get_command(app).main(args=words, prog_name="recon", standalone_mode=False)
    except (ReconError, _ClickException) as error:
        if debug:
            traceback.print_exc()
        message = error.format_message() if isinstance(error, _ClickException) else str(error)
        note(f"recon: {' '.join(message.split())}")
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        note(INTERRUPTED)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        text = " ".join(str(error).split())
        note(f"recon: unexpected {type(error).__name__}: {text}; run again with --debug and report the traceback")
        sys.exit(2)
    if outcome == 130:  # some typer releases turn the interruption into its exit code themselves
        note(INTERRUPTED)
    sys.exit(outcome if isinstance(outcome, int) else 0)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Our own warnings as one line; other packages' only with ``--debug``."""
    from recon.errors import ReconWarning

    if issubclass(category, ReconWarning):
        note(f"warning: {' '.join(str(message).split())}")


if __name__ == "__main__":
    main()

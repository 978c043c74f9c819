"""Commands on scan files: info, convert, undersample, simulate."""

import typer


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.command()(info)


def info(path: str) -> None:
    """What is in a scan file, and whether it can be reconstructed."""
    from recon.scan import open_scan

    open_scan(path)

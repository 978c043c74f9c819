"""Command ``recon encode list``: the encoders that recon knows."""

from typing import Any

import typer

from cli.flags import AsJson
from cli.output import emit


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command("list")(list_encoders)


def list_encoders(as_json: AsJson = False) -> None:
    """Encoders that recon knows, whether each is loadable here, and what must be obtained where."""
    from recon.encode.encoders import ENCODERS, missing_packages

    rows: list[dict[str, Any]] = []
    for row in ENCODERS:
        absent = missing_packages(row)
        needs = [f"pip install 'recon[encoders]' ({', '.join(absent)} missing)"] if absent else []
        needs += [] if row.ships else [row.obtain]
        rows.append(
            {
                "encoder": row.name,
                "architecture": row.architecture,
                "token": row.token,
                "licence": row.licence,
                "ships": row.ships,
                "missing_packages": absent,
                "loadable": "now" if not needs else "with random weights" if not absent else "no",
                "needs": needs,
            }
        )
    lines = []
    for entry in rows:
        lines.append(f"{entry['encoder']:<16} {entry['architecture']}; token {entry['token']}; {entry['licence']}")
        lines.append(f"{'':<16} loadable here: {entry['loadable']}")
        lines += [f"{'':<16} needs: {need}" for need in entry["needs"]]
    emit({"encoders": rows}, lines, as_json)

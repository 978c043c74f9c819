"""Flags that many commands have, worded once."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda. Default: cuda where there is one.", show_default=False)]
PriorFolder = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER", help="Folder of a prior. Default: the small one that comes with recon.", show_default=False
    ),
]
ExpectHead = Annotated[
    str | None, typer.Option(help="A last hash of the log noted earlier; the log must still hold that line.")
]

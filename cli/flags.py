"""Flags that many commands have, worded once."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Device = Annotated[
    str | None,
    typer.Option(metavar="DEVICE", help="cpu or cuda. Default: cuda where there is one.", show_default=False),
]
PriorFolder = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER", help="Folder of a prior. Default: the small one that comes with recon.", show_default=False
    ),
]
ConfigFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="YAML file with these options; flags override it.")
]
Threads = Annotated[int, typer.Option(min=0, metavar="N", help="Processor threads; 0 uses every core.")]
Sheets = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="Score sheets, tables (CSV, XLSX, REDCap export) or folders; repeatable. Default STUDY/sheets.",
    ),
]
Columns = Annotated[Path | None, typer.Option(metavar="FILE", help="Column map (YAML) of a foreign table.")]
ExpectHead = Annotated[
    str | None,
    typer.Option(metavar="HASH", help="A last hash of the log noted earlier; the log must still hold that line."),
]

"""The group ``recon encode``: what a foundation model sees. One module a command."""

import typer

from cli import encode_doctor, encode_drift, encode_dx, encode_list, encode_map

encode_app = typer.Typer(
    name="encode",
    help="What does a foundation model see in a reconstruction, compared with its reference? Exploratory.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
for command in (encode_list, encode_doctor, encode_drift, encode_map, encode_dx):
    command.register(encode_app)


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.add_typer(encode_app)

"""The table of segmenters: one row each, and one module with ``segment(prompt)`` behind each row."""

from dataclasses import dataclass
from importlib import import_module

from recon.interactive.options import InteractiveOptions
from recon.interactive.prompt import Segment
from recon.interactive.tool import tool_segmenter

TOOL = "tool"  # how the user's own is called in tables


@dataclass(frozen=True)
class Segmenter:
    """A segmenter that comes with recon."""

    module: str
    help: str


SEGMENTERS = {
    "random-walker": Segmenter("recon.interactive.random_walker", "random walker (Grady) from the clicks"),
    "region-growing": Segmenter("recon.interactive.region_growing", "flood from the clicks, half-way to surroundings"),
}


def chosen_segmenters(options: InteractiveOptions) -> dict[str, Segment]:
    """By name, those of the table that were chosen, and the user's tool as ``TOOL``. Raises ReconError."""
    chosen: dict[str, Segment] = {name: import_module(SEGMENTERS[name].module).segment for name in options.segmenters}
    if options.tool is not None:
        chosen[TOOL] = tool_segmenter(options.tool, options.timeout)
    return chosen

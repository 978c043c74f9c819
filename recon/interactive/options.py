"""How a lesion is segmented by clicks, and how that is judged: one declaration for the library and the command line."""

from dataclasses import dataclass
from typing import Literal

from recon.options import check_minimums, option

SegmenterName = Literal["random-walker", "region-growing"]


@dataclass(frozen=True)
class InteractiveOptions:
    """The user who clicks, the tools that segment, and the figures. Lengths in mm."""

    segmenters: tuple[SegmenterName, ...] = option(
        ("random-walker", "region-growing"), "Segmenters that come with recon.", flag="--segmenter"
    )
    clicks: int = option(20, "Budget of clicks a lesion mask.", minimum=1)
    slicewise: bool = option(
        True,
        "Segment slice by slice: a click changes its own slice only. With --volume a click works on the volume.",
        flag="--slicewise/--volume",
    )
    scatter: float = option(
        0.0, "How far a click may miss the centre of the error: 0 not at all, 1 anywhere inside it.", minimum=0
    )
    reach: float = option(30.0, "A segmentation reaches no farther than so many mm beyond the clicks.", minimum=1)
    mark: float = option(2.0, "Radius in mm of the disc that a click marks in its slice.", minimum=0)
    target: float = option(0.8, "Dice coefficient that the clicks are counted to.")
    tolerance: float = option(2.0, "Tolerance of the normalised surface distance in mm.", minimum=0)
    tool: str | None = option(
        None,
        "Command of a tool of yours that segments, too; {folder} in it stands for the folder that it works in "
        "(docs/interactive.md). Without it: none.",
        metavar="COMMAND",
    )
    timeout: float = option(120.0, "Seconds that the tool may take a click.", minimum=0.1)
    repeats: int = option(2000, "Bootstrap resamples of persons.", minimum=100)
    seed: int = option(0, "Seed of the clicks (equally good places) and of the bootstrap.")

    def __post_init__(self) -> None:
        check_minimums(self)
        if not 0 < self.target <= 1:
            raise ValueError("target must lie above 0 and be at most 1")
        if not self.scatter <= 1:
            raise ValueError("scatter must be at most 1")
        if not self.segmenters and self.tool is None:
            raise ValueError("no segmenter: name one, or a tool")
        if len(set(self.segmenters)) != len(self.segmenters):
            raise ValueError("a segmenter is named twice")

"""Write docs/modules.md: every module by room, with the first sentence of its docstring.

python docs/make_modules.py
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "modules.md"
PACKAGES = ("recon", "reader_study", "cli")
HEAD = """# Modules

Data flows one way: a scan file -> `Scan` -> a calibrated, whitened, scaled `Problem` -> posterior samples -> a
`Reconstruction` -> files, metrics, encoders, reader study. This page is made by `python docs/make_modules.py` of the
modules' own first sentences.

**The layer rule.** A module imports from its own room and from rooms below it, never from above, and never in a
circle (`tests/test_house.py` checks it). From bottom to top:

1. `errors`, `version`, `seeding`, `atomic`, `configuration`, `options`, `hdf5`, `foreign`, `progress`: what everybody
   uses; they know nothing of images.
2. `scan`: the one measured-data object.
3. `acquisition`: what the scanner does.
4. `scans` and `images`: files of kspace, files of images.
5. `quality`: images in, numbers out.
6. `simulate`: scans with known truth. `interactive`: clicks that a segmentation needs; knows image files only.
   `vessels`: simulated vessel trees and the pruning of their graphs.
7. `prior`: the diffusion model; knows no sampler. `posterior`: solvers and samplers; knows a denoiser as a function,
   no prior. Neither imports the other.
8. `reconstruction`: the one place where a scan becomes an image; nobody else calibrates a scan or calls a sampler,
   but for the preparation of training images.
9. `finetuning`, `benchmark` and `streaming`: they call `reconstruction`.
10. `encode`: what a foundation model sees.
11. `study`: several series of one examination, and what acceleration costs a model that looks at them.
12. `monitoring`: a watch on results, one after another.
13. `recon/__init__`: the Python face.
14. `reader_study`: blinded reader studies.
15. `cli`: parses, calls, prints. No science.

`recon` imports neither `cli` nor `reader_study`, never prints and never exits. Where a new thing goes: a method is
one module and one row in `reconstruction/methods.py`; a scan format, an encoder, a probe likewise in
`scans/readers.py`, `encode/encoders.py`, `encode/probes/table.py`, an image format in `reconstruction/formats.py`.
"""


def modules() -> list[Path]:
    """Every module of the packages, relative to the repository."""
    found = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted(path.relative_to(ROOT) for path in found)


def first_sentence(module: Path) -> str:
    """The first paragraph of a module's docstring on one line, its trailing full stop left away."""
    text = ast.get_docstring(ast.parse((ROOT / module).read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).rstrip(".:").replace("|", "\\|")


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    rooms: dict[Path, list[Path]] = {}
    for module in modules():
        rooms.setdefault(module.parent, []).append(module)
    for room, members in sorted(rooms.items(), key=lambda entry: (PACKAGES.index(entry[0].parts[0]), entry[0])):
        about = next((first_sentence(path) for path in members if path.name == "__init__.py"), "")
        lines += [f"## {room}", "", *([f"{about}.", ""] if about else []), "| module | |", "|---|---|"]
        lines += [f"| `{path.stem}` | {first_sentence(path)} |" for path in members if path.name != "__init__.py"]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")

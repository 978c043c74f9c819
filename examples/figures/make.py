"""The picture on the README's first screen: run the demonstration and make its figure small enough for a web page.

python examples/figures/make.py [FOLDER of a finished `recon demo`]
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH = 1600  # pixels


def main() -> None:
    """Write demo.png beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="of a finished demonstration; without it one is run")
    given = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        folder = given or Path(temporary)
        if not (folder / "demo.png").is_file():
            subprocess.run([sys.executable, "-m", "cli", "demo", "--out", str(folder)], check=True)
        with Image.open(folder / "demo.png") as figure:
            size = (WIDTH, round(figure.height * WIDTH / figure.width))
            small = figure.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        target = Path(__file__).with_name("demo.png")
        small.quantize(256).save(target, optimize=True)
        print(f"{target}: {size[0]} x {size[1]}, {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

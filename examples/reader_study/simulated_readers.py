"""SIMULATED readers: they get a sealed package, look at its pixels only, and hand back a signed score sheet.

A simulated reader measures noise and edge sharpness of each image, turns them into scores with a personal severity and
with noise, and cannot know the arm: the package does not tell. No person is modelled; the numbers mean nothing beyond
showing that the machinery works.
"""

import base64
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from reader_study.packages import read_setup
from reader_study.sheet import BlindingGuess, Flag, Response, Sheet
from reader_study.sheet_files import write_sheet

# Weight of (sharpness, noise) on each item, in points for one standard deviation of the feature.
WEIGHTS = {
    "white-matter": (0.30, -0.35),
    "grey-matter": (0.35, -0.30),
    "ventricles": (0.40, -0.20),
    "snr": (0.05, -0.60),
    "contrast": (0.30, -0.30),
    "sharpness": (0.60, -0.05),
    "artifacts": (-0.10, 0.30),  # 1 is best
    "overall": (0.35, -0.30),
}


def read_image(path: Path) -> npt.NDArray[np.float64]:
    """Pixels `[slice, row, column]` of one image script."""
    text = path.read_text(encoding="utf-8")
    facts, data = text[text.index("(") + 1 : text.rindex(")")].split(",\n", 1)
    pixels = np.frombuffer(base64.b64decode(data.strip().strip('"')), dtype="<u2")
    return pixels.reshape(json.loads(facts)["shape"]).astype(np.float64)


def features(pixels: npt.NDArray[np.float64]) -> tuple[float, float]:
    """(edge sharpness, noise) of one image: how steep its edges stay at a fine scale, and how grainy flat parts are."""
    fine = ndimage.gaussian_gradient_magnitude(pixels, (0, 0.7, 0.7))
    coarse = ndimage.gaussian_gradient_magnitude(pixels, (0, 1.6, 1.6))
    edges = coarse > np.percentile(coarse, 94)
    flat = (coarse < np.percentile(coarse, 60)) & (pixels > 0.3 * np.percentile(pixels, 95))
    grain = np.abs(pixels - ndimage.median_filter(pixels, (1, 3, 3)))[flat]
    return float(fine[edges].mean() / coarse[edges].mean()), float(np.log(grain.mean() / np.percentile(pixels, 95)))


def read_session(folder: Path, target: Path, seed: int, begins: datetime) -> int:
    """Score every presentation of one package and write the signed sheet (JSON and CSV); gives their number."""
    package = read_setup(folder)
    session, reader = package["session"], package["reader"]
    generator = np.random.default_rng([seed, session, *reader.encode()])
    personal = np.random.default_rng([seed, *reader.encode()])
    severity = personal.normal(scale=0.12)
    shown = package["presentations"]
    images = [read_image(folder / "images" / f"{entry['images'][0]}.js") for entry in shown]
    measured = np.array([features(pixels) for pixels in images])
    standard = (measured - measured.mean(axis=0)) / measured.std(axis=0)
    now = begins
    responses, guesses = [], []
    for entry, (sharp, noisy), pixels in zip(shown, standard, images, strict=True):
        mood = generator.normal(scale=0.20)  # of this look at this image, shared by the items
        scores = {}
        for item in package["items"]:
            sharpness, noise = WEIGHTS[item["id"]]
            level = 2.0 if item["id"] == "artifacts" else 4.0
            turned = -1 if item["id"] == "artifacts" else 1
            latent = level + sharpness * sharp + noise * noisy + turned * (severity + mood)
            scores[item["id"]] = int(np.clip(np.rint(latent + generator.normal(scale=0.25)), 1, 5))
        flags: tuple[Flag, ...] = ()
        if generator.random() < 0.03:
            depth, rows, columns = pixels.shape
            place = (int(generator.integers(1, depth + 1)), int(columns // 2), int(rows // 2))
            flags = (Flag("artifact", "A", *place),)
        seconds = float(np.round(generator.gamma(6, 6), 1))
        done = now + timedelta(seconds=seconds)
        responses.append(
            Response(
                entry["id"],
                entry["order"],
                entry["training"],
                scores,
                flags,
                "",
                seconds,
                stamp(now),
                stamp(done),
                tuple(entry["sha256"]),  # a viewer computes them of what it loaded
            )
        )
        if entry["guess"]:
            guess = "unknown" if generator.random() < 0.3 else str(generator.choice(["reference", "new"]))
            guesses.append(BlindingGuess(entry["id"], guess))
        now = done + timedelta(seconds=2)
    sheet = Sheet(
        study=package["study"],
        package=package["package"],
        reader=reader,
        session=session,
        started=stamp(begins),
        finished=stamp(now),
        responses=tuple(responses),
        guesses=tuple(guesses),
    ).signed(package["signing_key"])
    for suffix in (".json", ".csv"):
        write_sheet(target / f"{reader}-session-{session}{suffix}", sheet)
    return len(responses)


def stamp(moment: datetime) -> str:
    """UTC, ISO 8601."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""A lesion erased from the image: does the token map point at it? Beside it, the random-init control.

    python examples/encoder_drift/erased.py --cohort DIR --cases 20

Only persons that the shipped encoder never saw (its held-out rule) are used.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_cdt

from recon.encode.encoders import load_encoder
from recon.encode.erasure import erase_lesion
from recon.encode.interface import Encoder
from recon.encode.latent_prediction.encoder import SHIPPED
from recon.encode.latent_prediction.volumes import is_held_out
from recon.encode.map import difference_map
from recon.encode.noise import noise_level
from recon.encode.volumes import read_series
from recon.images.references import read_lesions
from recon.seeding import numpy_generator


def tokens_from_lesion(
    encoder: Encoder, values: np.ndarray, affine: np.ndarray, lesion: np.ndarray, erased: np.ndarray
) -> tuple[int, float]:
    """How many tokens the map's maximum lies away from the nearest token with lesion in it (0: in, 1: next to it), and
    the share of the whole token change that lies in or next to the lesion."""
    prepared = encoder.prepare(values, affine)
    before = encoder.encode(prepared)
    after = encoder.encode(encoder.prepare(erased, affine, prepared.preprocessing))
    found = difference_map(prepared, before, after)
    to_token = np.linalg.inv(prepared.token_to_world) @ affine
    voxels = np.argwhere(lesion)
    places = np.rint(voxels @ to_token[:3, :3].T + to_token[:3, 3]).astype(int)
    places = places[((places >= 0) & (places < prepared.mask.shape)).all(axis=1)]
    away = np.ones(prepared.mask.shape, bool)
    away[tuple(places.T)] = False
    distance = distance_transform_cdt(away, metric="chessboard")
    of_tokens = distance[tuple(found.coords.T)]
    near = float(found.token_values[of_tokens <= 1].sum() / found.token_values.sum())
    return int(of_tokens[np.argmax(found.token_values)]), near


def main() -> None:
    """Print one line a case and the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", type=Path, required=True, nargs="+", help="folders of recon simulate --stroke")
    parser.add_argument("--cases", type=int, default=20)
    given = parser.parse_args()
    options = json.loads((SHIPPED / "config.json").read_text(encoding="utf-8"))["pretraining"]
    entries = [
        (folder, entry)
        for folder in given.cohort
        for entry in json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["scans"]
        if is_held_out(entry["group"], options["held_out_fraction"], options["seed"])
    ][: given.cases]
    encoders = {"shipped": load_encoder("recon-small"), "random-init": load_encoder("recon-small", random_seed=0)}
    hits = dict.fromkeys(encoders, 0)
    for folder, entry in entries:
        series = read_series(folder / entry["file"])
        assert series.affine is not None
        lesion = np.moveaxis(read_lesions(folder / entry["lesion_file"]).values, 0, -1) > 0
        noise, _, _ = noise_level(series, 2, None)
        erased = erase_lesion(series.values, lesion, numpy_generator(0, "erased", entry["file"]), noise_std=noise)
        line = f"{entry['file']:<28} {entry['lesion_ml']:>7.1f} mL {entry['lesion_stage']:<9}"
        for name, encoder in encoders.items():
            away, near = tokens_from_lesion(encoder, series.values, series.affine, lesion, erased)
            hits[name] += away <= 1
            line += f"  {name}: {away} tokens away, {near:.0%} of the change near"
        print(line, flush=True)
    for name, count in hits.items():
        print(f"{name}: maximum in or next to the lesion in {count} of {len(entries)} unseen cases")


if __name__ == "__main__":
    main()

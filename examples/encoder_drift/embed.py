"""Embed a table with the small encoder and with random-init controls of its shape, reading every volume once.

    python examples/encoder_drift/embed.py tables/lesion.csv --out embeddings --controls 3

Writes NAME.h5 and NAME-random0.h5, NAME-random1.h5 ...: the files that `recon probe embed` and
`recon probe embed --random-init 0` write one by one.
"""

import argparse
from pathlib import Path

import torch

from recon.encode.encoders import load_encoder
from recon.encode.probes.labels import read_labels
from recon.encode.probes.store import embed_with_each, write_embeddings


def main() -> None:
    """Embed and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--controls", type=int, default=3)
    parser.add_argument("--weights", type=Path, help="folder of recon encode pretrain; default: the shipped encoder")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    encoders = [load_encoder("recon-small", given.weights)]
    encoders += [load_encoder("recon-small", given.weights, random_seed=seed) for seed in range(given.controls)]
    names = [given.labels.stem, *(f"{given.labels.stem}-random{seed}" for seed in range(given.controls))]
    for name, embeddings in zip(names, embed_with_each(encoders, read_labels(given.labels)), strict=True):
        write_embeddings(given.out / f"{name}.h5", embeddings)
        print(given.out / f"{name}.h5", flush=True)


if __name__ == "__main__":
    main()

"""Task models on an encoder: adapters, pooling of tokens, pixel supervision, trained together for one label."""

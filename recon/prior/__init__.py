"""The diffusion model: denoiser, training data, training, storage."""

"""The small encoder that ships: its network, preparation, pre-training by masked prediction in latent space."""

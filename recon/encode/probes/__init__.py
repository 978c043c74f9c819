"""Probes: small classifiers on stored embeddings, and what acceleration does to them."""

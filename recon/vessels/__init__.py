"""Pruning an over-traced graph of vessels: simulated time-of-flight trees, and what acceleration does to them."""

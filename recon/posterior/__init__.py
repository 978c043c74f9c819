"""Data consistency, samplers, baselines, audit."""

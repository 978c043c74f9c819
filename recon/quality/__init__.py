"""Metrics, lesion metrics, figures."""

"""Simulated brain scans: anatomy, contrast, lesions, acquisition."""

"""Blinded reader studies: protocol, allocation, blinding, export, check, viewer, statistics, report."""

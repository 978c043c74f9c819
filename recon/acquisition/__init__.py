"""What the scanner does: masks, noise, coils, the SENSE operator."""

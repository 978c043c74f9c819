"""Studies: several series of one examination, networks that find lesions in them, and what acceleration costs those."""

"""Raw scans: one module a file format and the table of readers; open, convert, undersample, inspect."""

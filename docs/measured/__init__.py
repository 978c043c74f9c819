"""The documents' tables that ``docs/measure.py`` measures again, and how the rows of each are made."""

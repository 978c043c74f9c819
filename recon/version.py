"""The version of the toolkit, as stored in what it writes."""

__version__ = "0.1.0"

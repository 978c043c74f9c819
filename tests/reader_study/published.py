"""Published ratings, and what it means to agree with a printed figure."""

import json
from pathlib import Path

RATINGS = json.loads((Path(__file__).parent / "data" / "oracle_ratings.json").read_text())


def printed(value, text):
    """Does ``value`` round to the published ``text``?"""
    digits = len(text.partition(".")[2])
    return f"{value:.{digits}f}".replace("0.", ".", 1) == text.replace("0.", ".", 1)

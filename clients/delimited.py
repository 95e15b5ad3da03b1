"""What is said of a CSV file whose columns are not separated by commas, or whose rows hold too many."""

from __future__ import annotations

from collections.abc import Collection

#: Of a row with more fields than columns: what came, and what is expected.
TOO_MANY, IN_QUOTES = "more fields than columns", "fields that hold a comma in quotes"
_OTHERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def separator_hint(names: Collection[str]) -> str:
    """A remark for an error about columns that are missing among `names`; empty where it is none."""
    for separator, called in _OTHERS.items():
        if len(names) == 1 and separator in next(iter(names)):
            return f" (it looks separated by {called}; expected commas)"
    return ""

"""Whole numbers as they stand in addresses, forms and headers."""

ID_MAX = 2**63 - 1
"""The largest id that PostgreSQL keeps."""


def whole(text: str, most: int = ID_MAX) -> int | None:
    """The number that a text of ASCII digits is; None for any other text, and above ``most``."""
    # Its length first: Python reads no number of thousands of digits.
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(most)):
        return None
    value = int(text)
    return value if value <= most else None

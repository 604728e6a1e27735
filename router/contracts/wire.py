"""What decoding of bytes from outside can come to."""

import msgspec

UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""What ``msgspec`` raises for bytes that are no JSON of the wanted shape, are nested deeper than it
goes, or hold text that is no UTF-8."""

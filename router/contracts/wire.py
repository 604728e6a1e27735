"""The errors of decoding bytes from outside."""

import msgspec

UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""What ``msgspec`` raises for bytes that are not JSON of the wanted shape, are nested too deep, or
are not UTF-8."""

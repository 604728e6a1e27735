"""What images are told by: their first bytes."""

import binascii
import re

HEAD_CHARACTERS = 256
"""Enough of a base64 text for all that is looked at."""

is_image = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|BM|II\*\0|MM\0\*"
    rb"|....ftyp(avif|heic|mif1)",
    re.DOTALL,
).match
"""PNG, JPEG, GIF, WebP, BMP, TIFF, AVIF and HEIC."""


def first_bytes(base64: str) -> bytes:
    """What a base64 text begins with. Raises ``ValueError`` if it is none."""
    head = base64[:HEAD_CHARACTERS]
    if len(base64) > len(head):
        head = head[: len(head) // 4 * 4]  # Groups of four characters stand for three bytes.
    try:
        return binascii.a2b_base64(head)
    except binascii.Error as error:
        raise ValueError(str(error)) from error

"""Decompresses bodies of clients that compress them, such as tritonclient and some gateways.

The output is bounded while it is made: a body that expands a thousandfold costs no more than the
largest allowed body.
"""

import zlib
from collections.abc import Callable

import zstandard

from router.domain.errors import BodyTooLarge, CodingUnknown, RequestInvalid

GZIP, ZLIB, RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
ZSTD_WINDOW_MAX = 8 * 1024 * 1024
"""RFC 9659: a receiver need not support a larger window."""


def decoded(body: bytes, coding: str, bytes_max: int) -> bytes:
    """The body without its ``Content-Encoding``, which must be one coding in one stream.

    Raises ``CodingUnknown`` or ``BodyTooLarge``, or ``RequestInvalid`` if the body is corrupt.
    """
    name = coding.strip().lower()
    decode = DECODERS.get(name)
    if decode is None:
        raise CodingUnknown(
            f"Content-Encoding {coding[:40]!r} cannot be read here; send {', '.join(DECODERS)}",
            headers=(("accept-encoding", ", ".join(DECODERS)),),
        )
    try:
        made = decode(body, bytes_max)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise RequestInvalid(f"the body is not one whole {name}, as its header says") from error
    if len(made) > bytes_max:
        raise BodyTooLarge(f"the body has more than {bytes_max} bytes once it is unpacked")
    return made


def _gunzipped(body: bytes, bytes_max: int) -> bytes:
    return _inflated(body, bytes_max, GZIP)


def _undeflated(body: bytes, bytes_max: int) -> bytes:
    """Deflate with a header, as the standard has it (RFC 9110), or without, as some clients do."""
    try:
        return _inflated(body, bytes_max, ZLIB)
    except zlib.error:
        return _inflated(body, bytes_max, RAW)


def _inflated(body: bytes, bytes_max: int, wbits: int) -> bytes:
    stream = zlib.decompressobj(wbits)
    made = stream.decompress(body, bytes_max + 1)
    if len(made) <= bytes_max and (not stream.eof or stream.unused_data):
        raise EOFError
    return made


def _unzstd(body: bytes, bytes_max: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_MAX)
    with decompressor.stream_reader(body, read_across_frames=True) as reader:
        made = reader.read(bytes_max + 1)
    if len(made) <= bytes_max:  # That reader does not say whether the stream is complete.
        whole = decompressor.decompressobj()
        whole.decompress(body)
        if not whole.eof or whole.unused_data:
            raise EOFError
    return made


def _unchanged(body: bytes, bytes_max: int) -> bytes:
    return body


DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzipped,
    "deflate": _undeflated,
    "zstd": _unzstd,
    "x-gzip": _gunzipped,
    "identity": _unchanged,
}

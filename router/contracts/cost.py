"""What a call cost, as ``usage.cost`` of an OpenAI-shaped answer or chunk: dollars, as a number."""

import msgspec
from msgspec import Raw

from router.domain.money import format_usd

_USAGE = "usage"
_KEY = b'"usage"'

_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


def with_cost(answer: bytes, charge_nano: int) -> bytes:
    """A JSON object with its cost. One without a ``usage`` that is an object stays as it is."""
    at = answer.rfind(_KEY)
    if at < 0:
        return answer
    try:
        head, fields = _parted(answer, at)
        usage = _decode_fields(fields.get(_USAGE, b"null"))
    except msgspec.MsgspecError:
        return answer
    usage["cost"] = Raw(format_usd(charge_nano).encode())
    fields[_USAGE] = Raw(_encode(usage))
    return b"".join((head, _encode(fields)[1:]))


def _parted(answer: bytes, at: int) -> tuple[bytes | memoryview, dict[str, Raw]]:
    """The bytes up to a field of the object, and the fields from there on.

    Most workers write their usage after the text or the vectors, which need not be read for it. If
    the rest is not an object's, the key is one of something inside.
    """
    try:
        return memoryview(answer)[:at], _decode_fields(b"{" + answer[at:])
    except msgspec.MsgspecError:
        return b"{", _decode_fields(answer)

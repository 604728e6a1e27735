"""Request ids: UUIDv7 (RFC 9562), so that rows sort by time of arrival."""

from uuid import UUID


def uuid7(now_ms: int, entropy: int) -> str:
    """Compose a UUIDv7 from Unix milliseconds and at least 74 random bits."""
    value = (now_ms & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (entropy >> 62 & 0xFFF) << 64
    value |= 0b10 << 62 | entropy & (1 << 62) - 1
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def uuid7_millis(request_id: str) -> int:
    """The Unix milliseconds inside a UUIDv7."""
    return UUID(request_id).int >> 80

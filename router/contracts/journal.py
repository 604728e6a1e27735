"""The file format of a router's journal: frames of usage records that survive a crash.

A frame is ``length, crc32`` (little-endian u32 each) and the payload, one encoded
:class:`~router.contracts.record.UsageRecord`. A running stream is written many times, each time as
what it owes if it ends there (``interrupted``); the newest record of a call counts.
"""

import struct
import zlib
from collections.abc import Iterable

import msgspec

from router.contracts.record import UsageRecord, decode_record

HEADER = struct.Struct("<II")
HEADER_HIGH_BYTE = 3
PAYLOAD_BYTES_MAX = 1024 * 1024


def frame(payload: bytes) -> bytes:
    """Raises ``ValueError`` for a payload that readers would refuse."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"record of {len(payload)} bytes exceeds {PAYLOAD_BYTES_MAX}")
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


class Segment(msgspec.Struct, frozen=True):
    """The content of a file of frames.

    ``lost_bytes`` belong to no whole frame: a torn tail, or damage. ``lost_inside`` says whether
    whole frames follow lost bytes.
    """

    payloads: list[bytes]
    lost_bytes: int
    lost_inside: bool


def read_segment(raw: bytes) -> Segment:
    """Every whole frame of a file, including those after torn or damaged bytes."""
    payloads: list[bytes] = []
    position = framed = 0
    lost_inside = False
    while (at := _next_frame(raw, position)) is not None:
        lost_inside = lost_inside or at > position
        position = at + HEADER.size + HEADER.unpack_from(raw, at)[0]
        payloads.append(raw[at + HEADER.size : position])
        framed += position - at
    return Segment(payloads, len(raw) - framed, lost_inside)


def _next_frame(raw: bytes, position: int) -> int | None:
    """The start of the first whole frame at or after a position."""
    while position + HEADER.size <= len(raw):
        length, crc = HEADER.unpack_from(raw, position)
        # An empty frame is no record: the zeros that a power loss leaves are full of them.
        if 0 < length <= PAYLOAD_BYTES_MAX:
            payload = raw[position + HEADER.size : position + HEADER.size + length]
            if len(payload) == length and zlib.crc32(payload) == crc:
                return position
        # The highest byte of a length is 0 and JSON has no 0 byte: few places need a look.
        position = raw.find(b"\0", position + HEADER_HIGH_BYTE + 1) - HEADER_HIGH_BYTE
        if position < 0:
            return None
    return None


class Kept(msgspec.Struct):
    """The newest record of a call, its size in bytes, and the segments of all its frames."""

    record: UsageRecord
    size: int
    segments: list[int]


def newest_records(
    frames: Iterable[tuple[int, bytes]],
) -> tuple[list[Kept], list[tuple[int, bytes]]]:
    """The calls of a journal, oldest first, and the frames that hold no record.

    Frames come in the order of writing, each with its segment.
    """
    calls: dict[str, Kept] = {}
    unreadable: list[tuple[int, bytes]] = []
    for segment, payload in frames:
        try:
            record = decode_record(payload)
        except ValueError:
            unreadable.append((segment, payload))
            continue
        kept = calls.get(record.request_id)
        if kept is None:
            calls[record.request_id] = Kept(record, len(payload), [segment])
        else:
            kept.record, kept.size = record, len(payload)
            kept.segments.append(segment)
    return list(calls.values()), unreadable

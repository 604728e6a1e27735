"""What a router keeps on its disk: frames of usage records, readable however the writer died.

A frame is ``length, crc32`` (little-endian u32 each) and the payload, one encoded
:class:`~router.contracts.record.UsageRecord`. A stream that runs is written again and again, each
time as what it would owe if it ended there (``interrupted``); the newest record of a call counts.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator

import msgspec

from router.contracts.record import UsageRecord, decode_record

HEADER = struct.Struct("<II")
PAYLOAD_BYTES_MAX = 1024 * 1024


def frame(payload: bytes) -> bytes:
    """Raises ``ValueError`` for a payload that no reader would take."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"record of {len(payload)} bytes exceeds {PAYLOAD_BYTES_MAX}")
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def read_frames(raw: bytes) -> Iterator[bytes]:
    """The payloads of the whole frames; stops at the first torn or damaged one."""
    position = 0
    while position + HEADER.size <= len(raw):
        length, crc = HEADER.unpack_from(raw, position)
        payload = raw[position + HEADER.size : position + HEADER.size + length]
        if len(payload) != length or length > PAYLOAD_BYTES_MAX or zlib.crc32(payload) != crc:
            return
        yield payload
        position += HEADER.size + length


def framed_bytes(payloads: Iterable[bytes]) -> int:
    """How much of a file these payloads take up."""
    return sum(HEADER.size + len(payload) for payload in payloads)


class Kept(msgspec.Struct):
    """What a journal says of one call: the newest record, and where all of its frames lie."""

    record: UsageRecord
    segments: list[int]


def newest_records(
    frames: Iterable[tuple[int, bytes]],
) -> tuple[list[Kept], list[tuple[int, bytes]]]:
    """The calls of a journal, oldest first, and the frames that are no records.

    Frames come as they were written, each with the segment that it lies in.
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
            calls[record.request_id] = Kept(record, [segment])
        else:
            kept.record = record
            kept.segments.append(segment)
    return list(calls.values()), unreadable

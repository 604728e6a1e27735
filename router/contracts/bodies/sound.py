"""Recordings: what they are told by, and how long they last."""

import re
from math import ceil

is_sound = re.compile(
    rb"RIFF....WAVE|ID3|\xff[\xe0-\xff]|fLaC|OggS|....ftyp|\x1aE\xdf\xa3", re.DOTALL
).match
"""WAV, MP3 (also raw AAC), FLAC, Ogg, MP4 and WebM, by their first bytes."""

BYTES_PER_S_LEAST = 500
"""No recording that can be understood has less: 4 kbit/s."""

BYTES_PER_S_USUAL = 16_000
"""Where nobody says how long a recording is: 128 kbit/s."""

WAVE_HEAD_BYTES = 12
CHUNK_HEAD_BYTES = 8
PLAIN = (1, 3, 0xFFFE)
"""Formats of samples that all have as many bytes: whole numbers, floats, and either, extended."""


def seconds_of(sound: bytes) -> float | None:
    """How long a recording lasts; None where only its decoder can tell.

    Only a plain WAV file is measured. What other heads say need not be so, and who sends them pays
    by it. Nor is one measured in which decoders might find another format, or more sound.
    """
    if sound[:4] != b"RIFF":
        return None
    at, bytes_per_s, formats = WAVE_HEAD_BYTES, 0, 0
    while at + CHUNK_HEAD_BYTES <= len(sound):
        name, size = sound[at : at + 4], int.from_bytes(sound[at + 4 : at + 8], "little")
        at += CHUNK_HEAD_BYTES
        if name == b"fmt ":
            kind, channels, rate, frame_bytes, bits = (
                int.from_bytes(sound[at + start : at + end], "little")
                for start, end in ((0, 2), (2, 4), (4, 8), (12, 14), (14, 16))
            )
            formats += 1
            is_plain = kind in PLAIN and frame_bytes == channels * ceil(bits / 8)
            bytes_per_s = rate * frame_bytes if is_plain and formats == 1 else 0
        elif name == b"data":
            rest = len(sound) - at
            # A length that was not known when it was written is the rest.
            size = min(size or rest, rest)
            goes_on = sound.find(b"data", at + size) >= 0
            return size / bytes_per_s if bytes_per_s and not goes_on else None
        at += size + size % 2
    return None


def seconds_most(sound: bytes) -> int:
    """The most whole seconds that a recording may last, at least one."""
    known = seconds_of(sound)
    return max(ceil(len(sound) / BYTES_PER_S_LEAST if known is None else known), 1)


def seconds_billed(sound: bytes, told: float | None) -> int:
    """Whole seconds, at least one. A worker is believed where the recording does not tell."""
    known = seconds_of(sound)
    if known is None:
        known = told if told is not None and told >= 0 else len(sound) / BYTES_PER_S_USUAL
    return min(max(ceil(known), 1), seconds_most(sound))

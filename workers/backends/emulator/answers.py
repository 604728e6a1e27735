"""What emulated models answer: hashes, plain colours and tones, each marked as emulated."""

import hashlib
import io
import math
import re
import struct
import wave
import zlib
from typing import Any

import msgspec

from workers.backends.emulator.prompt import BYTES_PER_TOKEN

EMBEDDING_WIDTH = 64
IMAGE_CLASSES = 1000
SAMPLE_HZ = 8_000
CYCLE = 80
"""Samples of one swing of the tone: 100 Hz."""
SPOKEN_S = 0.06
"""What a character takes to say."""
WAVE_HEAD_BYTES = 44
CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""OpenAI's."""


class Tensor(msgspec.Struct):
    """An input."""

    name: str
    shape: list[int]
    data: list[Any] = []


class Inference(msgspec.Struct):
    """The fields of ``infer`` that have a meaning here."""

    inputs: list[Tensor]


def hashed_vector(text: str) -> list[float]:
    """A unit vector that depends on the text alone."""
    digest = hashlib.shake_128(text.encode()).digest(EMBEDDING_WIDTH)
    raw = [byte - 127.5 for byte in digest]
    length = math.sqrt(sum(x * x for x in raw))
    return [x / length for x in raw]


def words_of(query: str) -> frozenset[str]:
    """What is looked for in each document."""
    return frozenset(query.casefold().split())


def shared_words(words: frozenset[str], text: str) -> float:
    """The share of a query's words that a text has, from 0 to 1."""
    return len(words.intersection(text.casefold().split())) / len(words) if words else 0.0


def moderated_texts(given: str | list[str | dict[str, Any]]) -> list[str]:
    """The texts to judge one by one; the parts of one input are one text."""
    if isinstance(given, str):
        return [given]
    parts = [str(part.get("text", "")) for part in given if isinstance(part, dict)]
    return [" ".join(parts)] if parts else [text for text in given if isinstance(text, str)]


def judged(text: str) -> dict[str, Any]:
    """A result in OpenAI's shape."""
    words = set(text.casefold().split())
    found = {name: not words.isdisjoint(re.split("[/-]", name)) for name in CATEGORIES}
    scores = {name: 0.9 if is_found else 0.01 for name, is_found in found.items()}
    return {"flagged": any(found.values()), "categories": found, "category_scores": scores}


def subtitled(text: str, seconds: int, wanted: str) -> str:
    """One line as a subtitle (``srt``, ``vtt``), or as it is."""
    end = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    frames = {
        "srt": f"1\n00:00:00,000 --> {end},000\n{text}\n",
        "vtt": f"WEBVTT\n\n00:00:00.000 --> {end}.000\n{text}\n",
    }
    return frames.get(wanted, f"{text}\n")


def tone(characters: int) -> bytes:
    """A wave file of a low tone, as long as so many characters would take to say."""
    samples = int(characters * SPOKEN_S * SAMPLE_HZ)
    cycle = bytes(128 + round(20 * math.sin(2 * math.pi * i / CYCLE)) for i in range(CYCLE))
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(SAMPLE_HZ)
        sound.writeframes((cycle * (samples // CYCLE + 1))[:samples])
    return file.getvalue()


def plain_png(seed: str, width: int, height: int) -> bytes:
    """An image of one colour that says in a text chunk what it is."""
    row = b"\0" + hashlib.shake_128(seed.encode()).digest(3) * width
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"tEXt", b"Comment\0emulated: no model ran"),
        (b"IDAT", zlib.compress(row * height, 1)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _embedding_outputs(call: Inference) -> list[dict[str, Any]]:
    texts = [str(text) for text in call.inputs[0].data]
    vectors = [x for text in texts for x in hashed_vector(text)]
    tokens = [tokens_of(text) for text in texts]
    count = len(texts)
    return [
        _output("EMBEDDING", "FP32", [count, EMBEDDING_WIDTH], vectors),
        _output("TOKENS", "INT32", [count, 1], tokens),
    ]


def _ranking_outputs(call: Inference) -> list[dict[str, Any]]:
    texts = {tensor.name: [str(text) for text in tensor.data] for tensor in call.inputs}
    pairs = list(zip(texts.get("QUERY", []), texts.get("DOCUMENT", []), strict=False))
    # A call has one query, repeated in each row.
    words = {query: words_of(query) for query in dict.fromkeys(texts.get("QUERY", []))}
    scores = [shared_words(words[query], text) for query, text in pairs]
    return [
        _output("SCORE", "FP32", [len(pairs), 1], scores),
        _output("TOKENS", "INT32", [len(pairs), 1], [tokens_of(q, text) for q, text in pairs]),
    ]


TENSOR_ANSWERS = {"embeddings": _embedding_outputs, "rerank": _ranking_outputs}
"""What reads texts, by task."""


def tokens_of(*texts: str) -> int:
    """As the emulated models count them, of texts that are read as one."""
    return max(1, sum(map(len, texts)) // BYTES_PER_TOKEN)


def classes(rows: int) -> list[dict[str, Any]]:
    """Each class as likely as the others."""
    even = [1 / IMAGE_CLASSES] * (IMAGE_CLASSES * rows)
    return [_output("PROBABILITIES", "FP32", [rows, IMAGE_CLASSES], even)]


def _output(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}

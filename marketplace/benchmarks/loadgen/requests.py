"""The requests of a benchmark: synthetic and seeded, never what a customer sent. No Django."""

import io
import json
import math
import random
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from marketplace.benchmarks.loadgen.plan import Plan
from router.contracts.bodies.form import Part, form_of
from router.contracts.oip import DTYPES

SAMPLE_HZ = 8_000
LIBRARY_MAX = 256
"""Most requests of a library, from which LoadGen draws again and again."""
LIBRARY_BYTES_MAX = 32 * 1024 * 1024
TENSOR_BYTES_MAX = 64 * 1024 * 1024
TEXT_BYTES = 8
"""About what a token of a text takes."""
SEQUENCE = "#0000000000"
"""Stands at the start of a prompt for a number that no other request of a run has. The library
repeats, and an engine that caches the beginnings of prompts must not find this one."""

PROMPT_SHARES = (2.0, 0.25, 0.75)
"""Prompts of chats have these shares of the plan's tokens in turn, 1 on average. With prompts of
one length alone the time to read a token could not be told from the rest.
"""

ANSWER_SHARES = (1.0, 0.9, 1.1)
"""The same for answers. If all had one length, those that begin together would end together, and
none would begin while another answer is under way.
"""

# Common words are one token in most vocabularies: a prompt of n words has about n tokens.
COMMON_WORDS = """
time year people way day man thing woman life child world school state family student
group country problem hand part place case week company system program question work
government number night point home water room mother area money story fact month lot right
study book eye job word business issue side kind head house service friend father power
hour game line end member law car city community name president team minute idea body
information back
"""


class InputsUnknown(ValueError):
    """The model does not say what it takes."""


@dataclass(frozen=True, slots=True)
class Body:
    """One HTTP request; ``streamed`` when its answer comes as server-sent events."""

    path: str
    content: bytes
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    streamed: bool = False

    def numbered(self, number: int) -> bytes:
        """The content with this request's own number in the place of :data:`SEQUENCE`."""
        return self.content.replace(SEQUENCE.encode(), f"#{number:010d}".encode(), 1)


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input for gRPC: numbers as an array, texts as an array of bytes objects."""

    name: str
    datatype: str
    array: Any


def prompt(rng: random.Random, tokens: int) -> str:
    """About that many tokens of unconnected words, with a place for the request's number."""
    words = rng.choices(COMMON_WORDS.split(), k=max(1, tokens - 4))
    return " ".join((SEQUENCE, *words))


def silence(seconds: int) -> bytes:
    """A wave file of nothing, at 8 kHz in 8 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(SAMPLE_HZ)
        sound.writeframes(bytes([128]) * (seconds * SAMPLE_HZ))
    return file.getvalue()


def openai_body(plan: Plan, model: str, index: int, *, exact: bool) -> Body:
    """With ``exact`` the engine is asked not to stop early; only a worker can be asked that."""
    rng = random.Random(f"{plan.seed}/{index}")
    if plan.task == "embeddings":
        texts = [prompt(rng, plan.prompt_tokens) for _ in range(plan.rows)]
        text: Any = texts[0] if plan.rows == 1 else texts
        return Body("/v1/embeddings", _json({"model": model, "input": text}))
    if plan.task == "rerank":
        texts = [prompt(rng, plan.prompt_tokens) for _ in range(plan.rows)]
        return Body("/v1/rerank", _json({"model": model, "query": texts[0], "documents": texts}))
    if plan.task == "moderation":
        texts = [prompt(rng, plan.prompt_tokens) for _ in range(plan.rows)]
        return Body("/v1/moderations", _json({"model": model, "input": texts}))
    if plan.task == "image":
        text = prompt(rng, plan.prompt_tokens)
        return Body(
            "/v1/images/generations", _json({"model": model, "prompt": text, "n": plan.rows})
        )
    if plan.task == "speech":
        text = prompt(rng, plan.prompt_tokens)
        return Body("/v1/audio/speech", _json({"model": model, "input": text, "voice": "alloy"}))
    if plan.task == "transcription":
        sound = silence(plan.rows)
        kind, form = form_of({"model": model}, Part("file", sound, "a.wav", "audio/wav"))
        return Body("/v1/audio/transcriptions", form, headers=(("content-type", kind),))
    tokens = round(plan.prompt_tokens * PROMPT_SHARES[index % 3])
    answer = round(plan.completion_tokens * ANSWER_SHARES[index // 3 % 3])
    call: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": prompt(rng, tokens)}],
        "max_tokens": answer,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if exact:
        # llama.cpp, vLLM and SGLang know it; others ignore it and the tokens are counted anyway.
        call["ignore_eos"] = True
    return Body("/v1/chat/completions", _json(call), streamed=True)


def tensors_of(plan: Plan, inputs: Sequence[Mapping[str, Any]], index: int) -> list[Tensor]:
    """Seeded values for each input of an Open Inference Protocol model; -1 becomes ``rows``, and a
    further -1 one. Raises :class:`InputsUnknown`.
    """
    if not inputs:
        raise InputsUnknown("the model has no tensors: set its inputs in the catalog first")
    rng = random.Random(f"{plan.seed}/{index}")
    numbers = np.random.default_rng([plan.seed, index])
    found = []
    for tensor in inputs:
        name, datatype = str(tensor["name"]), str(tensor["datatype"])
        shape = _shape(tensor["shape"], plan.rows)
        if datatype == "BYTES":
            count = _count(shape, TEXT_BYTES * plan.prompt_tokens)
            texts = [prompt(rng, plan.prompt_tokens).encode() for _ in range(count)]
            array: Any = np.array(texts, object).reshape(shape)
        elif datatype in DTYPES:
            array = _values(numbers, shape, datatype)
        else:
            raise InputsUnknown(f"input {name!r} has the datatype {datatype!r}, which is not known")
        found.append(Tensor(name, datatype, array))
    return found


def oip_body(plan: Plan, model: str, tensors: Sequence[Tensor]) -> Body:
    """An infer request over HTTP: numbers as the binary tensor extension, texts as JSON."""
    entries, raw = [], []
    for tensor in tensors:
        entry: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.array.shape),
        }
        if tensor.datatype == "BYTES":
            entry["data"] = [text.decode() for text in tensor.array.ravel()]
        else:
            raw.append(tensor.array.tobytes())
            entry["parameters"] = {"binary_data_size": len(raw[-1])}
        entries.append(entry)
    header = _json({"inputs": entries, "parameters": {"binary_data_output": True}})
    path = f"/v2/models/{model}/infer"
    if not raw:
        return Body(path, _json({"inputs": entries}))
    headers = (
        ("content-type", "application/octet-stream"),
        ("inference-header-content-length", str(len(header))),
    )
    return Body(path, header + b"".join(raw), headers)


def library_size(bytes_each: int) -> int:
    """How many requests of that size a library holds: at least four."""
    return max(4, min(LIBRARY_MAX, LIBRARY_BYTES_MAX // max(1, bytes_each)))


def _shape(shape: Sequence[Any], rows: int) -> tuple[int, ...]:
    sizes, free = [], rows
    for size in shape:
        if int(size) < 0:
            sizes.append(free)
            free = 1
        else:
            sizes.append(int(size))
    return tuple(sizes)


def _count(shape: tuple[int, ...], bytes_each: int) -> int:
    """The values of a tensor. Raises :class:`InputsUnknown` for more than are made here."""
    # Not NumPy's product, which begins again at zero where it is too large.
    count = math.prod(shape)
    if count * bytes_each > TENSOR_BYTES_MAX:
        raise InputsUnknown(f"a tensor of shape {list(shape)} is larger than {TENSOR_BYTES_MAX} B")
    return count


def _values(numbers: np.random.Generator, shape: tuple[int, ...], datatype: str) -> Any:
    dtype = np.dtype(DTYPES[datatype])
    _count(shape, dtype.itemsize)
    if dtype.kind == "f":
        return numbers.random(shape).astype(dtype)
    return numbers.integers(0, 2, shape).astype(dtype)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()

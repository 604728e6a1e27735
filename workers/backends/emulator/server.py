"""The emulator's HTTP face: every worker under ``/<worker-id>/``, OpenAI's API and OIP v2."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta

from router.contracts.bodies.form import FormInvalid, parts_of
from router.contracts.bodies.sound import is_sound, seconds_billed
from router.simulator.engines.batching import Sequence
from workers.backends.emulator.answers import (
    TENSOR_ANSWERS,
    WAVE_HEAD_BYTES,
    Inference,
    classes,
    hashed_vector,
    judged,
    moderated_texts,
    plain_png,
    shared_words,
    subtitled,
    tokens_of,
    tone,
    words_of,
)
from workers.backends.emulator.engine import Answer, Engine
from workers.backends.emulator.fleet import WORKERS
from workers.backends.emulator.hardware import MODELS
from workers.backends.emulator.prompt import BYTES_PER_TOKEN, Message, generation, prompt_text
from workers.backends.emulator.responses import Refused, ResponsesCall, Telling, messages_of
from workers.backends.emulator.roofline import REQUEST_OVERHEAD_S
from workers.backends.emulator.worker import Faults, RunningWorker

BODY_BYTES_MAX = 64 * 1024 * 1024
COMPLETION_TOKENS_DEFAULT = 64
PIXELS_USUAL = 1024 * 1024
SIZE = r"^(64|128|256|512|768|1024|1536|1792)x(64|128|256|512|768|1024|1536|1792)$"
SOUND_PIECES = 8
HEADER_LENGTH = "Inference-Header-Content-Length"

T = TypeVar("T")

_fleet = web.AppKey("fleet", dict[str, RunningWorker])


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class ChatCall(msgspec.Struct):
    """The fields of a chat call that have a meaning here."""

    model: str
    messages: list[Message]
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None


class EmbeddingCall(msgspec.Struct):
    """The fields of an embeddings call that have a meaning here."""

    model: str
    input: str | list[str]


class RerankCall(msgspec.Struct):
    """The fields of a reranking that have a meaning here."""

    model: str
    query: str
    documents: list[str]


class ModerationCall(msgspec.Struct):
    """A text, several, or the parts of one input."""

    model: str
    input: str | list[str | dict[str, Any]]


class ImageCall(msgspec.Struct):
    """The fields of a call for images that have a meaning here."""

    model: str
    prompt: str
    n: Annotated[int, Meta(ge=1, le=10)] = 1
    size: Annotated[str, Meta(pattern=SIZE)] = "1024x1024"


class SpeechCall(msgspec.Struct):
    """The fields of a call for speech that have a meaning here."""

    model: str
    input: str
    response_format: Literal["wav", "pcm"] = "wav"


def make_app(*, seed: int) -> web.Application:
    """The application with a fresh fleet."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app[_fleet] = {name: RunningWorker(worker, seed=seed) for name, worker in WORKERS.items()}
    app.router.add_post("/{worker}/v1/chat/completions", chat)
    app.router.add_post("/{worker}/v1/responses", responses)
    app.router.add_post("/{worker}/v1/embeddings", embeddings)
    app.router.add_post("/{worker}/v1/rerank", rerank)
    app.router.add_post("/{worker}/v1/moderations", moderations)
    app.router.add_post("/{worker}/v1/images/generations", images)
    app.router.add_post("/{worker}/v1/audio/speech", speech)
    app.router.add_post("/{worker}/v1/audio/transcriptions", transcriptions)
    app.router.add_post("/{worker}/v2/models/{model:.+}/infer", infer)
    app.router.add_get("/{worker}/v2/health/ready", health)
    app.router.add_get("/{worker}/v1/models", models)
    app.router.add_get("/{worker}/health", health)
    app.router.add_get("/{worker}/emulator", state)
    app.router.add_post("/{worker}/emulator", set_faults)
    app.router.add_get("/health", alive)
    return app


async def chat(request: web.Request) -> web.StreamResponse:
    """``/v1/chat/completions``, plain and streamed."""
    worker = _worker(request)
    call = _decode(await request.read(), ChatCall)
    engine, text, sequence = _generated(worker, call.model, call.messages, call.max_tokens)
    with worker.serving():
        await worker.spend(REQUEST_OVERHEAD_S)
        with engine.answering(sequence, streams=call.stream) as answer:
            if call.stream:
                return await _stream(request, worker, call, text, sequence, answer)
            await answer.whole()
    body = _completion(worker, call.model, "chat.completion")
    message = {"role": "assistant", "content": text.rstrip()}
    body["choices"] = [{"index": 0, "message": message, "finish_reason": "length"}]
    body["usage"] = _usage(sequence)
    return _json_response(body)


async def _stream(
    request: web.Request,
    worker: RunningWorker,
    call: ChatCall,
    text: str,
    sequence: Sequence,
    answer: Answer,
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    chunk = _completion(worker, call.model, "chat.completion.chunk")
    async for piece in _pieces(text, sequence, answer):
        chunk["choices"] = [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]
        await response.write(_event(chunk))
    chunk["choices"] = [{"index": 0, "delta": {}, "finish_reason": "length"}]
    await response.write(_event(chunk))
    if call.stream_options and call.stream_options.include_usage:
        await response.write(_event({**chunk, "choices": [], "usage": _usage(sequence)}))
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


async def responses(request: web.Request) -> web.StreamResponse:
    """``/v1/responses``, plain and streamed."""
    worker = _worker(request)
    call = _decode(await request.read(), ResponsesCall)
    pool = worker.worker.pool.name
    try:
        messages = messages_of(call, pool)
    except Refused as error:
        raise _refusal(web.HTTPBadRequest, str(error)) from error
    engine, text, sequence = _generated(worker, call.model, messages, call.max_output_tokens)
    telling = Telling(call, pool, worker.served, int(time.time()))
    with worker.serving():
        await worker.spend(REQUEST_OVERHEAD_S)
        with engine.answering(sequence, streams=call.stream) as answer:
            if not call.stream:
                await answer.whole()
                return _json_response(telling.whole(text, sequence))
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            await response.write(b"".join(telling.begin()))
            async for piece in _pieces(text, sequence, answer):
                await response.write(telling.piece(piece))
            await response.write(b"".join(telling.end(text, sequence)))
            await response.write_eof()
            return response


async def embeddings(request: web.Request) -> web.Response:
    """``/v1/embeddings``: vectors by a hash of the text, so equal texts are equal."""
    worker = _worker(request)
    call = _decode(await request.read(), EmbeddingCall)
    profile = worker.worker.profile(_known(call.model))
    texts = [call.input] if isinstance(call.input, str) else call.input
    tokens = sum(map(tokens_of, texts))
    async with worker.slot():
        await worker.spend(profile.prefill_s(tokens * worker.running) * worker.jitter())
    entries = [
        {"object": "embedding", "index": i, "embedding": hashed_vector(text)}
        for i, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"object": "list", "model": call.model, "data": entries, "usage": usage}
    return _json_response({**body, "emulated": True})


async def rerank(request: web.Request) -> web.Response:
    """``/v1/rerank``: a score is the share of the query's words that a document has."""
    worker = _worker(request)
    call = _decode(await request.read(), RerankCall)
    profile = worker.worker.profile(_known(call.model, "rerank"))
    tokens = sum(tokens_of(call.query, text) for text in call.documents)
    async with worker.slot():
        await worker.spend(profile.prefill_s(tokens * worker.running) * worker.jitter())
    words = words_of(call.query)
    results = [
        {"index": place, "relevance_score": shared_words(words, text)}
        for place, text in enumerate(call.documents)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"id": f"emulated-{worker.served}", "model": call.model, "results": results}
    return _json_response({**body, "usage": usage, "emulated": True})


async def moderations(request: web.Request) -> web.Response:
    """``/v1/moderations``: a text is flagged for each category whose name has a word of it."""
    worker = _worker(request)
    call = _decode(await request.read(), ModerationCall)
    profile = worker.worker.profile(_known(call.model, "moderation"))
    texts = moderated_texts(call.input)
    tokens = sum(map(tokens_of, texts))
    async with worker.slot():
        await worker.spend(profile.prefill_s(tokens * worker.running) * worker.jitter())
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"model": call.model, "results": [judged(text) for text in texts], "usage": usage}
    return _json_response({"id": f"emulated-{worker.served}", **body, "emulated": True})


async def images(request: web.Request) -> web.Response:
    """``/v1/images/generations``: plain colours by a hash of the prompt, marked as emulated."""
    worker = _worker(request)
    call = _decode(await request.read(), ImageCall)
    profile = worker.worker.profile(_known(call.model, "image"))
    width, height = map(int, call.size.split("x"))
    share = width * height / PIXELS_USUAL
    async with worker.slot():
        await worker.spend(profile.items_s(call.n * share, worker.running) * worker.jitter())
    entries = [
        {"b64_json": base64.b64encode(plain_png(f"{call.prompt}/{n}", width, height)).decode()}
        for n in range(call.n)
    ]
    return _json_response({"created": int(time.time()), "data": entries, "emulated": True})


async def speech(request: web.Request) -> web.StreamResponse:
    """``/v1/audio/speech``: a low tone, as long as the text would take, in pieces."""
    worker = _worker(request)
    call = _decode(await request.read(), SpeechCall)
    profile = worker.worker.profile(_known(call.model, "speech"))
    sound = tone(len(call.input))
    if call.response_format == "pcm":
        sound = sound[WAVE_HEAD_BYTES:]
    response = web.StreamResponse(headers={"Content-Type": f"audio/{call.response_format}"})
    async with worker.slot():
        seconds = profile.items_s(len(call.input), worker.running) * worker.jitter()
        size = -(-len(sound) // SOUND_PIECES)
        for start in range(0, len(sound), size):
            await worker.spend(seconds / SOUND_PIECES)
            if not response.prepared:
                await response.prepare(request)
            await response.write(sound[start : start + size])
    await response.write_eof()
    return response


async def transcriptions(request: web.Request) -> web.Response:
    """``/v1/audio/transcriptions``: says how long the recording is. Nobody listens to it."""
    worker = _worker(request)
    try:
        parts = parts_of(request.headers.get("content-type", ""), await request.read())
    except FormInvalid as error:
        raise _refusal(web.HTTPBadRequest, str(error)) from error
    fields = {part.name: part.content for part in parts}
    sound = fields.get("file", b"")
    if not is_sound(sound[:16]):
        raise _refusal(web.HTTPBadRequest, "file is no recording")
    model = _known(fields.get("model", b"").decode(errors="replace"), "transcription")
    seconds = seconds_billed(sound, None)
    async with worker.slot():
        profile = worker.worker.profile(model)
        await worker.spend(profile.items_s(seconds, worker.running) * worker.jitter())
    text = f"This is an emulated transcription of {seconds} s of sound: no model ran."
    wanted = fields.get("response_format", b"json").decode(errors="replace")
    if wanted not in ("json", "verbose_json"):
        return web.Response(text=subtitled(text, seconds, wanted))
    body: dict[str, Any] = {"text": text, "usage": {"type": "duration", "seconds": seconds}}
    if wanted == "verbose_json":
        segment = {"id": 0, "start": 0.0, "end": float(seconds), "text": text}
        body |= {"language": "english", "duration": float(seconds), "segments": [segment]}
    return _json_response({**body, "emulated": True})


async def infer(request: web.Request) -> web.Response:
    """OIP ``infer`` of the image model, embeddings and rerankers; images are not looked at."""
    worker = _worker(request)
    model = _known(request.match_info["model"])
    body = await request.read()
    header_length = int(request.headers.get(HEADER_LENGTH, len(body)))
    call = _decode(body[:header_length], Inference)
    if not call.inputs or not call.inputs[0].shape:
        raise _refusal(web.HTTPBadRequest, "inputs: at least one tensor with a shape is needed")
    rows = call.inputs[0].shape[0]
    profile = worker.worker.profile(model)
    async with worker.slot():
        if MODELS[model].task in TENSOR_ANSWERS:
            seconds = profile.prefill_s(rows * worker.running)
        else:
            seconds = profile.items_s(rows, worker.running)
        await worker.spend(seconds * worker.jitter())
    made = TENSOR_ANSWERS.get(MODELS[model].task)
    outputs = made(call) if made else classes(rows)
    parameters = {"emulated": True, "hardware": worker.worker.pool.hardware.name}
    return _json_response(
        {"model_name": model, "model_version": "1", "parameters": parameters, "outputs": outputs}
    )


async def health(request: web.Request) -> web.Response:
    """200 unless the worker is set to fail or to hang."""
    worker = _worker(request)
    if worker.faults.hang:
        await asyncio.Event().wait()
    return _json_response({"status": "ok", "emulated": True})


async def alive(request: web.Request) -> web.Response:
    """Whether the process as a whole is up."""
    return _json_response({"status": "ok", "emulated": True, "workers": len(request.app[_fleet])})


async def models(request: web.Request) -> web.Response:
    """``/v1/models``."""
    _worker(request)
    entries = [{"id": name, "object": "model", "owned_by": "emulated"} for name in MODELS]
    return _json_response({"object": "list", "data": entries})


async def state(request: web.Request) -> web.Response:
    """What the worker has done, for tests."""
    worker = request.app[_fleet][request.match_info["worker"]]
    counts = {"running": worker.running, "served": worker.served, "cancelled": worker.cancelled}
    return _json_response({**counts, "faults": msgspec.to_builtins(worker.faults)})


async def set_faults(request: web.Request) -> web.Response:
    """Replace the worker's faults."""
    worker = request.app[_fleet][request.match_info["worker"]]
    worker.set_faults(_decode(await request.read(), Faults))
    return await state(request)


def _worker(request: web.Request) -> RunningWorker:
    worker = request.app[_fleet].get(request.match_info["worker"])
    if worker is None:
        raise _refusal(web.HTTPNotFound, f"no emulated worker {request.match_info['worker']!r}")
    if worker.faults.fail:
        raise _refusal(web.HTTPInternalServerError, "emulated failure")
    return worker


def _generated(
    worker: RunningWorker, model: str, messages: list[Message], tokens_max: int | None
) -> tuple[Engine, str, Sequence]:
    """What answers, the answer, and what there is to do for it."""
    if not worker.worker.serves(_known(model, "chat")):
        raise _refusal(web.HTTPNotFound, f"{model} does not run on {worker.worker.id}")
    engine = worker.engine(model)
    prompt = prompt_text(messages)
    tokens = tokens_max or COMPLETION_TOKENS_DEFAULT
    if len(prompt) // BYTES_PER_TOKEN + tokens > engine.room_tokens:
        raise _refusal(
            web.HTTPBadRequest,
            f"prompt and answer must fit into {engine.room_tokens} tokens of KV cache, got"
            f" {len(prompt) // BYTES_PER_TOKEN} and {tokens}",
        )
    text = _text(worker, model, tokens)
    return engine, text, generation(prompt, text.encode())


async def _pieces(text: str, sequence: Sequence, answer: Answer) -> AsyncIterator[str]:
    """The tokens of a text, as they are made."""
    sent = 0
    while sent < sequence.answer_events:
        made = await answer.more()
        for token in range(sent, made):
            yield text[token * BYTES_PER_TOKEN : (token + 1) * BYTES_PER_TOKEN]
        sent = max(sent, made)


def _known(model: str, task: str = "") -> str:
    known = [name for name, item in MODELS.items() if task in ("", item.task)]
    if model not in known:
        raise _refusal(web.HTTPNotFound, f"{model!r} is not emulated; known: {', '.join(known)}")
    return model


def _decode(body: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.MsgspecError as error:
        raise _refusal(web.HTTPBadRequest, str(error)) from error


def _refusal(kind: type[web.HTTPError], message: str) -> web.HTTPError:
    body = msgspec.json.encode({"error": {"message": message}}).decode()
    return kind(text=body, content_type="application/json")


def _completion(worker: RunningWorker, model: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"emulated-{worker.served}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": worker.worker.pool.name,
    }


def _text(worker: RunningWorker, model: str, tokens: int) -> str:
    """An answer that says what it is, for as long as tokens are wanted."""
    sentence = (
        f"This is an emulated answer: no model ran. It took as long as {model} is computed to take "
        f"on {worker.worker.pool.hardware.name}, from published figures. "
    )
    length = tokens * BYTES_PER_TOKEN
    return (sentence * (length // len(sentence) + 1))[:length]


def _usage(sequence: Sequence) -> dict[str, Any]:
    prompt, completion = sequence.prompt_tokens, sequence.answer_events
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sequence.cached_tokens},
    }


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _json_response(body: dict[str, Any]) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")

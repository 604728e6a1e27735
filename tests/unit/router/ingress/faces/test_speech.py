"""Speech: its bytes come as the worker makes them, and characters are charged, or nothing."""

import asyncio
import io
import wave
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web

from router.domain.pricing import Price
from router.ingress.faces.speech import CHARACTERS_MAX
from router.settings import Limits
from tests.unit.router.ingress.faces.one_model import AUTH, NAME, Handler, served
from tests.unit.router.pipeline.line import in_time

PATH = "/v1/audio/speech"
CHARACTER_NANO = 15_000
PRICE = Price(3, row_nano=CHARACTER_NANO, unit="characters")
TEXT = "Olá, mundo"
CALL = {"model": NAME, "input": TEXT, "voice": "alloy", "response_format": "wav"}
PIECES = [b"RIFF", b"\0" * 1000, b"end"]


def speaking(*pieces: bytes, content_type: str = "audio/wav", breaks: bool = False) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        assert body["model"] == "upstream-name"
        assert "stream_options" not in body
        response = web.StreamResponse(headers={"content-type": content_type})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if breaks:
            assert request.transport is not None
            request.transport.abort()
        return response

    return handle


async def test_openais_client_gets_sound_and_characters_are_charged() -> None:
    async with served("speech", speaking(*PIECES), PRICE) as shop:
        answer = await shop.openai.audio.speech.create(
            model=NAME, input=TEXT, voice="alloy", response_format="wav"
        )
        assert await answer.aread() == b"".join(PIECES)
        assert answer.response.headers["content-type"] == "audio/wav"
        assert "cache-control" not in answer.response.headers
        await in_time(lambda: bool(shop.line.records))
        (record,) = shop.line.records
        assert (record.kind, record.rows) == ("speech", len(TEXT))
        assert record.charge_nano == len(TEXT) * CHARACTER_NANO
        assert not shop.line.unresolved_nano


async def test_the_first_bytes_come_before_the_last_are_made() -> None:
    go_on = asyncio.Event()

    async def slowly(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "audio/mpeg"})
        await response.prepare(request)
        await response.write(b"first")
        await go_on.wait()
        await response.write(b"last")
        return response

    async with (
        served("speech", slowly, PRICE, limits=Limits(quiet_s=0.01, progress_s=0.01)) as shop,
        shop.client.stream("POST", PATH, json=CALL, headers=AUTH) as answer,
    ):
        pieces = answer.aiter_bytes()
        assert await anext(pieces) == b"first"
        go_on.set()
        assert b"".join([piece async for piece in pieces]) == b"last"


async def test_sound_that_breaks_off_is_seen_to_and_is_not_charged() -> None:
    async with served("speech", speaking(*PIECES, breaks=True), PRICE) as shop:
        with pytest.raises(httpx.RemoteProtocolError):
            await shop.post(PATH, json=CALL)
        await in_time(lambda: bool(shop.line.records))
        (record,) = shop.line.records
        assert (record.outcome, record.charge_nano) == ("truncated", 0)
        assert not shop.line.unresolved_nano


async def test_a_caller_who_leaves_amid_the_sound_pays_for_it() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "audio/mpeg"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 1000)
            await asyncio.sleep(0.01)

    async with served("speech", endless, PRICE) as shop:
        async with shop.client.stream("POST", PATH, json=CALL, headers=AUTH) as answer:
            await anext(answer.aiter_bytes())
        await in_time(lambda: bool(shop.line.records))
        (record,) = shop.line.records
        assert record.charge_nano == len(TEXT) * CHARACTER_NANO


@pytest.mark.parametrize(
    ("pieces", "content_type"), [([], "audio/wav"), ([b"{}"], "application/json")]
)
async def test_what_is_no_sound_is_the_workers_fault(
    pieces: list[bytes], content_type: str
) -> None:
    async with served("speech", speaking(*pieces, content_type=content_type), PRICE) as shop:
        answer = await shop.post(PATH, json=CALL)
        assert answer.status_code == 502
        assert answer.json()["error"]["code"] == "worker_failed"
        assert not shop.line.records[0].charge_nano


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": " "}, "input"),
        ({"input": ["x"]}, "input"),
        ({"input": "x" * (CHARACTERS_MAX + 1)}, "input"),
        ({"voice": None}, "voice"),
        ({"voice": ""}, "voice"),
        ({"response_format": "midi"}, "response_format"),
        ({"stream_format": "sse"}, "stream_format"),
        ({"speed": 5}, "speed"),
        ({"speed": "fast"}, "speed"),
        ({"model": "a/m"}, "model"),
    ],
)
async def test_bad_input_is_refused_in_openais_words(fields: dict[str, Any], param: str) -> None:
    async with served("speech", speaking(*PIECES), PRICE) as shop:
        answer = await shop.post(PATH, json={**CALL, **fields})
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == param
        assert shop.untouched()


async def test_a_refusal_of_the_worker_reaches_the_client() -> None:
    async def refusing(request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "no voice 'alloy'"}}, status=400)

    async with served("speech", refusing, PRICE) as shop:
        with pytest.raises(openai.BadRequestError, match="no voice"):
            await shop.openai.audio.speech.create(model=NAME, input=TEXT, voice="alloy")
        assert not shop.line.records[0].charge_nano


async def test_sound_is_given_again_for_the_same_key_only_if_it_was_whole() -> None:
    headers = {**AUTH, "idempotency-key": "one"}
    async with served("speech", speaking(*PIECES), PRICE) as shop:
        first = await shop.client.post(PATH, json=CALL, headers=headers)
        again = await shop.client.post(PATH, json=CALL, headers=headers)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.content == first.content == b"".join(PIECES)
        assert again.headers["content-type"] == "audio/wav"
        assert len(shop.asked) == 1
    async with served("speech", speaking(*PIECES, breaks=True), PRICE) as shop:
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                await shop.client.post(PATH, json=CALL, headers=headers)
        assert len(shop.asked) == 2


def test_a_wave_can_be_read() -> None:
    from workers.backends.emulator.answers import tone

    with wave.open(io.BytesIO(tone(10))) as sound:
        assert sound.getnframes() > 0

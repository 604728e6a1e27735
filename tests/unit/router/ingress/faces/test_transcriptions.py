"""Transcriptions: a form with a recording becomes text, charged by the second."""

import struct
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web

from router.contracts.bodies.form import FormInvalid, Part, form_of, parts_of
from router.contracts.bodies.sound import (
    BYTES_PER_S_LEAST,
    seconds_billed,
    seconds_most,
    seconds_of,
)
from router.domain.pricing import Price
from router.ingress.faces.transcriptions import FACE
from router.settings import Limits
from router.upstream.openai_http import SILENCE
from tests.unit.router.ingress.faces.one_model import AUTH, NAME, Handler, served
from workers.backends.emulator.answers import tone

PATH = "/v1/audio/transcriptions"
SECOND_NANO = 30_000
PRICE = Price(3, row_nano=SECOND_NANO, unit="audio_seconds")
WAVE = tone(40)  # 2.4 s
PART = b"--x\r\nContent-Disposition: form-data; %b\r\n\r\nbody\r\n--x--"
MP3 = b"ID3\4\0\0" + bytes(range(256)) * 100 + b"\r\n--x\r\n"


def hearing(answer: object, content_type: str = "application/json", **fields: str) -> Handler:
    """A worker that checks what it gets."""

    async def handle(request: web.Request) -> web.Response:
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField)
        assert file.file.read() in (WAVE, MP3)
        assert form["model"] == "upstream-name"
        assert {name: form[name] for name in fields} == fields
        if isinstance(answer, str):
            return web.Response(text=answer, content_type=content_type)
        return web.json_response(answer)

    return handle


async def test_openais_client_is_heard_and_seconds_are_charged() -> None:
    worker = hearing({"text": "Hello."}, language="en", temperature="0.5")
    async with served("transcription", worker, PRICE) as shop:
        answer = await shop.openai.audio.transcriptions.create(
            model=NAME, file=("a.wav", WAVE), language="en", temperature=0.5
        )
        assert answer.text == "Hello."
        assert answer.usage is not None
        assert (answer.usage.type, answer.usage.seconds) == ("duration", 3)
        (record,) = shop.line.records
        assert (record.kind, record.rows) == ("transcription", 3)
        assert record.charge_nano == 3 * SECOND_NANO
        assert not shop.line.unresolved_nano


@pytest.mark.parametrize("wanted", ["text", "srt", "vtt"])
async def test_text_comes_as_the_described_text_even_if_it_looks_like_json(wanted: Any) -> None:
    said = '{"usage":{"seconds":9}}'
    worker = hearing(said, "text/plain", response_format=wanted)
    async with served("transcription", worker, PRICE) as shop:
        answer = await shop.openai.audio.transcriptions.with_raw_response.create(
            model=NAME, file=("a.wav", WAVE), response_format=wanted
        )
        assert answer.text == said
        described = FACE.described[PATH]["post"]["responses"]["200"]["content"]
        assert answer.headers["content-type"].partition(";")[0] in described
        assert shop.line.records[0].charge_nano == 3 * SECOND_NANO


async def test_lists_of_a_form_reach_the_worker_whole() -> None:
    async def handle(request: web.Request) -> web.Response:
        form = await request.post()
        assert form.getall("timestamp_granularities[]") == ["word", "segment"]
        return web.json_response({"text": "Hello.", "duration": 2.4, "words": []})

    async with served("transcription", handle, PRICE) as shop:
        answer = await shop.openai.audio.transcriptions.create(
            model=NAME,
            file=("a.wav", WAVE),
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )
        assert answer.duration == 2.4
        assert answer.words == []


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ({"text": "x", "usage": {"type": "duration", "seconds": 5.1}}, 6),
        ({"text": "x", "duration": "7"}, 7),
        ({"text": "x", "duration": 1e9}, -(-len(MP3) // BYTES_PER_S_LEAST)),
        ({"text": "x", "duration": -1}, 2),
        ({"text": "x"}, 2),
    ],
)
async def test_a_worker_is_believed_as_far_as_the_file_goes(answer: object, seconds: int) -> None:
    async with served("transcription", hearing(answer), PRICE) as shop:
        await shop.openai.audio.transcriptions.create(model=NAME, file=("a.mp3", MP3))
        assert shop.line.records[0].rows == seconds
        assert not shop.line.unresolved_nano


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (b"<!DOCTYPE html><html></html>", "begins with b'<!DOCTYPE html>"),
        (b"", "it is empty"),
        (b"%PDF-1.7", "begins with b'%PDF"),
    ],
)
async def test_a_file_that_is_no_recording_is_refused_before_a_worker(
    file: bytes, says: str
) -> None:
    async with served("transcription", hearing({"text": "x"}), PRICE) as shop:
        with pytest.raises(
            openai.UnprocessableEntityError, match="file is no recording"
        ) as refused:
            await shop.openai.audio.transcriptions.create(model=NAME, file=("a.wav", file))
        assert refused.value.param == "file"
        assert says in refused.value.message
        assert shop.untouched()


async def test_a_body_that_is_too_large_is_refused_in_openais_words() -> None:
    limits = Limits(body_bytes_max=10_000)
    async with served("transcription", hearing({"text": "x"}), PRICE, limits=limits) as shop:
        with pytest.raises(openai.APIStatusError) as refused:
            await shop.openai.audio.transcriptions.create(model=NAME, file=("a.wav", WAVE))
        assert refused.value.status_code == 413
        assert refused.value.code
        assert shop.untouched()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": "a/m"}, "model"),
        ({"response_format": "html"}, "response_format"),
        ({"stream": "true"}, "stream"),
        ({"language": b"\xff"}, "language"),
        ({"language": ["en", "pt"]}, "language"),
    ],
)
async def test_bad_fields_are_refused_by_name(fields: dict[str, Any], param: str) -> None:
    async with served("transcription", hearing({"text": "x"}), PRICE) as shop:
        answer = await shop.client.post(
            PATH, data={"model": NAME, **fields}, files={"file": ("a.wav", WAVE)}, headers=AUTH
        )
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == param
        assert shop.untouched()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("", b"x"),
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=a"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nbody\r\n--x--"),
        ("multipart/form-data; boundary=x", b"--x\r\nA: b\r\n\r\nbody\r\n--x--"),
        ("multipart/form-data; boundary=x", b"--x\r\n" * 100 + b"--x--"),
        ("multipart/form-data; boundary*=undefined''x", b"--x\r\n\r\nbody\r\n--x--"),
        ("multipart/form-data; boundary=x", PART % b"name=file; filename*=idna''%FF"),
        ("multipart/form-data; boundary=x", PART % b"name*%b*=file" % (b"9" * 5_000)),
    ],
)
async def test_what_is_no_form_is_refused(content_type: str, body: bytes) -> None:
    async with served("transcription", hearing({"text": "x"}), PRICE) as shop:
        headers = {**AUTH, "content-type": content_type}
        answer = await shop.client.post(PATH, content=body, headers=headers)
        assert answer.status_code == 422
        assert "form" in answer.json()["error"]["message"]
        assert shop.untouched()


async def test_a_form_without_a_file_names_it() -> None:
    async with served("transcription", hearing({"text": "x"}), PRICE) as shop:
        kind, form = form_of({"model": NAME}, Part("other", WAVE, "a.wav", "audio/wav"))
        answer = await shop.client.post(PATH, content=form, headers={**AUTH, "content-type": kind})
        assert answer.json()["error"]["param"] == "file"


@pytest.mark.parametrize("answer", [{}, {"text": 3}, [], "no JSON"])
async def test_what_is_no_transcription_is_the_workers_fault(answer: object) -> None:
    async with served("transcription", hearing(answer), PRICE) as shop:
        reply = await shop.client.post(
            PATH, data={"model": NAME}, files={"file": ("a.wav", WAVE)}, headers=AUTH
        )
        assert reply.status_code == 502
        assert not shop.line.records[0].charge_nano


def test_a_form_comes_out_as_it_went_in() -> None:
    file = Part("file", MP3, 'a "b"\r\n.mp3', "audio/mpeg")
    kind, body = form_of({"model": "a/b", "list[]": ["1", "2"], "text": "é\r\n"}, file)
    parts = parts_of(kind, body)
    assert [(part.name, part.content) for part in parts] == [
        ("model", b"a/b"),
        ("list[]", b"1"),
        ("list[]", b"2"),
        ("text", "é\r\n".encode()),
        ("file", MP3),
    ]
    assert "\n" not in parts[-1].filename
    assert parts[-1].content_type == "audio/mpeg"


def test_forms_of_other_clients_are_read() -> None:
    request = httpx.Request(
        "POST", "http://x", data={"model": "m"}, files={"file": ("é.wav", WAVE, "audio/wav")}
    )
    parts = parts_of(request.headers["content-type"], request.read())
    assert [part.name for part in parts] == ["model", "file"]
    assert parts[1].content == WAVE


def test_too_many_parts_are_none() -> None:
    with pytest.raises(FormInvalid, match="may have 64"):
        parts_of("multipart/form-data; boundary=x", b"--x\r\n" * 66 + b"--x--")


def test_only_a_plain_wave_file_says_how_long_it_is() -> None:
    assert seconds_of(WAVE) == pytest.approx(2.4)
    assert seconds_of(SILENCE) == pytest.approx(0.1)
    assert seconds_of(MP3) is None
    assert seconds_of(b"RIFF") is None
    compressed = SILENCE[:20] + struct.pack("<H", 85) + SILENCE[22:]
    assert seconds_of(compressed) is None


def test_a_wave_file_cannot_make_itself_short() -> None:
    """Its bytes a second are what its samples are, whatever that field of its head says."""
    lying = WAVE[:28] + struct.pack("<I", 2**32 - 1) + WAVE[32:]
    assert seconds_of(lying) == pytest.approx(2.4)
    for unknown in (0, 2**32 - 1):
        streamed = WAVE[:40] + struct.pack("<I", unknown) + WAVE[44:]
        assert seconds_of(streamed) == pytest.approx(2.4)
    assert seconds_billed(SILENCE, 500.0) == seconds_most(SILENCE) == 1


HEAD, FORMAT, DATA = WAVE[:12], WAVE[12:36], WAVE[36:]
FAST = FORMAT[:12] + struct.pack("<I", 2**31) + FORMAT[16:]


@pytest.mark.parametrize(
    "unsure",
    [
        HEAD + FORMAT[:20] + struct.pack("<H", 65_535) + FORMAT[22:] + DATA,
        HEAD + FAST + FORMAT + DATA,
        HEAD + FORMAT + FAST + DATA,
        HEAD + FORMAT + b"data" + struct.pack("<I", 2) + b"\x80\x80" + DATA,
    ],
    ids=["frame", "two formats", "the true format first", "two data"],
)
def test_where_decoders_may_hear_more_of_a_wave_file_the_worker_is_believed(unsure: bytes) -> None:
    assert seconds_of(unsure) is None
    assert seconds_billed(unsure, 2.4) == 3

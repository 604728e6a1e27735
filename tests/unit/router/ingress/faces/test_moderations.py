"""Moderations: OpenAI's shape outside, and a result for each input, or the worker has failed."""

import base64
from typing import Any

import openai
import pytest
from aiohttp import web

from router.domain.pricing import Price
from router.ingress.faces.moderations import INPUTS_MAX
from tests.unit.router.ingress.faces.one_model import NAME, Handler, served
from workers.backends.emulator.answers import judged, moderated_texts, plain_png

INPUT_NANO = 20_000
PRICE = Price(3, row_nano=INPUT_NANO, image_nano=5, unit="inputs")
PNG = "data:image/png;base64," + base64.b64encode(plain_png("x", 64, 64)).decode()
HTML = "data:image/png;base64," + base64.b64encode(b"<!DOCTYPE html><html></html>").decode()


async def emulated(request: web.Request) -> web.Response:
    body = await request.json()
    assert body["model"] == "upstream-name"
    return web.json_response({"results": [judged(text) for text in moderated_texts(body["input"])]})


def answering(results: object) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return web.json_response({"results": results})

    return handle


async def test_openais_client_moderates_and_inputs_are_charged() -> None:
    async with served("moderation", emulated, PRICE) as shop:
        asked = ["graphic violence", "a quiet day"]
        answer = await shop.openai.moderations.create(model=NAME, input=asked)
        assert [one.flagged for one in answer.results] == [True, False]
        assert answer.results[0].categories.violence_graphic is True
        assert answer.results[1].category_scores.self_harm == 0.01
        assert answer.model == NAME
        assert answer.id.startswith("modr-")
        (record,) = shop.line.records
        assert (record.kind, record.rows, record.charge_nano) == ("moderation", 2, 2 * INPUT_NANO)


async def test_the_parts_of_one_input_are_judged_together() -> None:
    parts = [
        {"type": "text", "text": "violence"},
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}},
    ]
    async with served("moderation", emulated, PRICE) as shop:
        answer = await shop.post("/v1/moderations", json={"model": NAME, "input": parts})
        assert [one["flagged"] for one in answer.json()["results"]] == [True]
        (record,) = shop.line.records
        assert (record.rows, record.images) == (1, 2)
        assert record.charge_nano == INPUT_NANO + 2 * 5
        assert answer.json()["usage"]["cost"] == record.charge_nano / 1e9


@pytest.mark.parametrize(
    "given",
    [
        None,
        3,
        [],
        [3],
        ["x"] * (INPUTS_MAX + 1),
        ["x", {"type": "text", "text": "y"}],
        [{"type": "text"}],
        [{"type": "image_url"}],
        [{"type": "video_url"}],
        [{"type": "image_url", "image_url": {"url": HTML}}],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,!"}}],
        [{"type": "image_url", "image_url": {"url": "data:image/png"}}],
    ],
)
async def test_bad_input_is_refused_in_openais_words(given: Any) -> None:
    async with served("moderation", emulated, PRICE) as shop:
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            await shop.openai.moderations.create(model=NAME, input=given)
        assert refused.value.param == "input"
        assert shop.untouched()


async def test_an_image_that_is_html_is_called_so() -> None:
    part = {"type": "image_url", "image_url": {"url": HTML}}
    async with served("moderation", emulated, PRICE) as shop:
        answer = await shop.post("/v1/moderations", json={"model": NAME, "input": [part]})
        message = answer.json()["error"]["message"]
        assert message.startswith("input[0].image_url.url is no image: it begins with b'<!DOCTYPE")


@pytest.mark.parametrize(
    "results", [None, [], [{"flagged": 1}], [judged("x")] * 2, [{"flagged": True}], "x"]
)
async def test_what_is_no_moderation_is_the_workers_fault(results: object) -> None:
    async with served("moderation", answering(results), PRICE) as shop:
        answer = await shop.post("/v1/moderations", json={"model": NAME, "input": "x"})
        assert answer.status_code == 502
        assert not shop.line.records[0].charge_nano
        assert not shop.line.unresolved_nano

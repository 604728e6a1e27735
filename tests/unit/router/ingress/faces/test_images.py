"""Images: OpenAI's shape outside; those that came are charged, and what is none is no image."""

import base64
from typing import Any

import openai
import pytest
from aiohttp import web

from router.domain.pricing import Price
from router.ingress.faces.images import IMAGES_MAX, PROMPT_CHARACTERS_MAX
from tests.unit.router.ingress.faces.one_model import NAME, Handler, served
from workers.backends.emulator.answers import plain_png

IMAGE_NANO = 4_000_000
PRICE = Price(3, image_nano=IMAGE_NANO)
PNG = base64.b64encode(plain_png("x", 64, 64)).decode()
HTML = base64.b64encode(b"<!DOCTYPE html><html></html>").decode()


def answering(*entries: object, **more: object) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        assert (await request.json())["model"] == "upstream-name"
        return web.json_response({"data": entries, **more})

    return handle


async def test_openais_client_gets_images_and_each_is_charged() -> None:
    async with served("image", answering({"b64_json": PNG}, {"b64_json": PNG}), PRICE) as shop:
        answer = await shop.openai.images.generate(model=NAME, prompt="a sea", n=2)
        assert [image.b64_json for image in answer.data or []] == [PNG, PNG]
        assert answer.created
        (record,) = shop.line.records
        assert (record.kind, record.images, record.charge_nano) == ("image", 2, 2 * IMAGE_NANO)


async def test_only_the_images_that_came_are_charged() -> None:
    async with served("image", answering({"url": "https://x.example/1.png"}), PRICE) as shop:
        answer = await shop.post(
            "/v1/images/generations", json={"model": NAME, "prompt": "a sea", "n": 3}
        )
        assert answer.json()["usage"]["cost"] == IMAGE_NANO / 1e9
        assert answer.headers["x-cost-nano-usd"] == str(IMAGE_NANO)
        assert shop.line.records[0].hold_nano >= 3 * IMAGE_NANO
        assert not shop.line.unresolved_nano


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"prompt": ["x"]}, "prompt"),
        ({"prompt": "x" * (PROMPT_CHARACTERS_MAX + 1)}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": IMAGES_MAX + 1}, "n"),
        ({"response_format": "html"}, "response_format"),
        ({"stream": True}, "stream"),
        ({"model": None}, "model"),
    ],
)
async def test_bad_input_is_refused_in_openais_words(fields: dict[str, Any], param: str) -> None:
    async with served("image", answering({"b64_json": PNG}), PRICE) as shop:
        call = {"model": NAME, "prompt": "a sea", **fields}
        answer = await shop.post("/v1/images/generations", json=call)
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == param
        assert shop.untouched()


async def test_a_refusal_of_the_worker_reaches_the_client_and_costs_nothing() -> None:
    async def refusing(request: web.Request) -> web.Response:
        error = {"message": "size must be 64x64", "param": "size", "code": "bad_size"}
        return web.json_response({"error": error}, status=400)

    async with served("image", refusing, PRICE) as shop:
        with pytest.raises(openai.BadRequestError, match="size must be 64x64"):
            await shop.openai.images.generate(model=NAME, prompt="a sea", size="256x256")
        assert not shop.line.records[0].charge_nano


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [{}],
        [{"b64_json": HTML}],
        [{"b64_json": "!"}],
        [{"b64_json": PNG}] * 2,
        ["x"],
    ],
)
async def test_what_is_no_image_is_the_workers_fault(entries: list[object]) -> None:
    async with served("image", answering(*entries), PRICE) as shop:
        call = {"model": NAME, "prompt": "a sea"}
        answer = await shop.post("/v1/images/generations", json=call)
        assert answer.status_code == 502
        assert not shop.line.records[0].charge_nano
        assert not shop.line.unresolved_nano

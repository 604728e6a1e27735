"""What an engine says of itself is taken as far as it can be kept, and waited for a while."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from marketplace.benchmarks.runs import fingerprint
from tests.patience import PATIENCE_S


async def asked(body: bytes) -> dict[str, object]:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=httpx.ByteStream(body)))
    async with (
        asyncio.timeout(PATIENCE_S),
        httpx.AsyncClient(transport=transport, base_url="http://w") as client,
    ):
        return await fingerprint._openai(client, "m")


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": 5}',
        b'{"data": [{"id": "m", "meta": ["n_params"]}]}',
        b'{"version": "\\u0000"}',
        b'{"version": NaN}',
        b'{"version": 1e999}',
        b"[" * 100_000,
        b"[]",
        b"\xff",
    ],
)
async def test_what_cannot_be_kept_is_not_taken(body: bytes) -> None:
    assert (await asked(body)).keys() <= {"owned_by"}


async def test_what_is_as_it_should_be_is_taken() -> None:
    said = {"version": "0.9", "data": [{"id": "m", "owned_by": "me", "meta": {"n_params": 7}}]}
    found = await asked(json.dumps(said).encode())
    assert found == {"version": "0.9", "owned_by": "me", "n_params": 7}


@pytest.mark.parametrize(
    ("bound", "value"), [("ANSWER_S_MAX", 0.2), ("ANSWER_BYTES_MAX", 8)], ids=["time", "bytes"]
)
async def test_an_answer_without_an_end_is_none(
    bound: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, bound, value)

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await asyncio.sleep(0.01)

    async with (
        httpx.AsyncClient(
            transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=Endless())),
            base_url="http://w",
        ) as client,
        asyncio.timeout(PATIENCE_S),
    ):
        assert await fingerprint._get(client, "/props") == {}

"""Compressed bodies: read where they are sound, refused with a reason where they are not."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import zstandard

from router.domain.errors import BodyTooLarge
from router.ingress.http.content_coding import decoded
from router.ports.upstream import Answer
from router.settings import Limits
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import KEY, USED, FakeUpstream, Line

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
AUTH = {"authorization": f"Bearer {KEY}"}
CHAT = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}]}


def raw_deflate(body: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(body) + made.flush()


def unsized_zstd(body: bytes) -> bytes:
    """As who streams it does: its head does not say how large it gets."""
    made = zstandard.ZstdCompressor().compressobj()
    return made.compress(body) + made.flush()


PACKED = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw deflate": raw_deflate,
    "zstd": zstandard.ZstdCompressor().compress,
    "unsized zstd": unsized_zstd,
}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with calling(Line(FakeUpstream(lambda _: ANSWER))) as made:
        yield made


@pytest.mark.parametrize("kind", PACKED)
async def test_a_compressed_body_is_read(client: httpx.AsyncClient, kind: str) -> None:
    coding = kind.rsplit(maxsplit=1)[-1]
    packed = PACKED[kind](json.dumps(CHAT).encode())
    headers = {**AUTH, "content-encoding": coding}
    response = await client.post("/v1/chat/completions", content=packed, headers=headers)
    assert response.status_code == 200
    assert response.content == ANSWER.body


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize(
    "broken", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b"", lambda b: b + b]
)
async def test_what_is_not_what_its_coding_says_is_refused(
    client: httpx.AsyncClient, kind: str, broken: Callable[[bytes], bytes]
) -> None:
    coding = kind.rsplit(maxsplit=1)[-1]
    packed = broken(PACKED[kind](json.dumps(CHAT).encode()))
    headers = {**AUTH, "content-encoding": coding}
    response = await client.post("/v1/chat/completions", content=packed, headers=headers)
    assert response.status_code == 422
    assert f"not one whole {coding}" in response.json()["error"]["message"]


@pytest.mark.parametrize("kind", PACKED)
async def test_a_body_is_bounded_as_it_is_unpacked(kind: str) -> None:
    packed = PACKED[kind](b" " * 50_000_000)
    assert len(packed) < Limits().body_bytes_max
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            decoded(packed, kind.rsplit(maxsplit=1)[-1], 100_000)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "", "compress"])
async def test_a_coding_that_is_not_read_here_is_415(
    client: httpx.AsyncClient, coding: str
) -> None:
    headers = {**AUTH, "content-encoding": coding}
    response = await client.post("/v1/chat/completions", content=b"x", headers=headers)
    assert response.status_code == 415
    assert "gzip" in response.headers["accept-encoding"]
    assert response.json()["error"]["code"] == "unsupported_content_encoding"

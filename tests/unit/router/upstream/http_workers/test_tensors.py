"""Workers of tensors: what OpenAI's calls become on their way there and back."""

import msgspec
import pytest
from aiohttp import web

from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.domain.pricing import Usage
from router.domain.request import InferenceRequest, Kind
from router.ports.upstream import UpstreamFailed, UpstreamRefused
from router.upstream.http import HTTPClient
from router.upstream.oip_http import HEADER_LENGTH, HTTPTransport, OIPUpstream
from tests.unit.router.upstream.workers import LIMITS, call, endpoint, replying, serving


async def infer(url: str, payload: bytes, headers: tuple[tuple[str, str], ...]):
    request = InferenceRequest(
        id="r",
        kind=Kind.INFER,
        model="a/m",
        bound=Usage(rows=2),
        arrived_s=0.0,
        created_at_ms=0,
        payload=payload,
        payload_headers=headers,
    )
    async with HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        return await upstream.answer(request, endpoint(url, protocol="oip", upstream_model="up"))


async def test_binary_tensors_come_back_under_the_public_name_with_a_true_length() -> None:
    head, tail = b'{"model_name":"up","outputs":[]}', b"\x00\x01\x02"

    async def handle(request: web.Request) -> web.Response:
        assert request.path == "/v2/models/up/infer"
        assert await request.read() == b"{}\x09"
        return web.Response(
            body=head + tail,
            content_type="application/octet-stream",
            headers={HEADER_LENGTH.decode(): str(len(head))},
        )

    async with serving(handle) as url:
        found = await infer(url, b"{}\x09", (("Inference-Header-Content-Length", "2"),))
    length = int(dict(found.headers)[HEADER_LENGTH.decode()])
    assert msgspec.json.decode(found.body[:length])["model_name"] == "a/m"
    assert found.body[length:] == tail
    assert found.usage == Usage(rows=2)


async def test_embeddings_are_translated_both_ways() -> None:
    async def handle(request: web.Request) -> web.Response:
        (tensor,) = (await request.json())["inputs"]
        assert (tensor["shape"], tensor["data"]) == ([2, 1], ["one", "two"])
        outputs = [
            {"name": "EMBEDDING", "shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.0]},
            {"name": "TOKENS", "shape": [2, 1], "data": [5, 6]},
        ]
        return web.json_response({"outputs": outputs})

    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        place = endpoint(url, protocol="oip")
        plain = await upstream.answer(call(Kind.EMBEDDING, input=["one", "two"]), place)
        packed = await upstream.answer(
            call(Kind.EMBEDDING, input=["one", "two"], encoding_format="base64"), place
        )
    body = msgspec.json.decode(plain.body)
    assert [entry["embedding"] for entry in body["data"]] == [[1.0, 2.0], [3.0, 4.0]]
    assert plain.usage == Usage(prompt_tokens=11)
    assert msgspec.json.decode(packed.body)["data"][0]["embedding"] == "AACAPwAAAEA="


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"input": [[1, 2]]}, "token arrays"),
        ({"input": "x", "encoding_format": "int8"}, "int8"),
    ],
)
async def test_embeddings_that_cannot_be_translated_are_refused(fields: dict, says: str) -> None:
    async with HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        with pytest.raises(UpstreamRefused, match=says):
            await upstream.answer(
                call(Kind.EMBEDDING, **fields), endpoint("http://127.0.0.1:1", protocol="oip")
            )


RERANK = {"query": "q", "documents": ["one", "two"]}


async def test_rerankings_are_translated_both_ways() -> None:
    async def handle(request: web.Request) -> web.Response:
        inputs = {tensor["name"]: tensor for tensor in (await request.json())["inputs"]}
        assert inputs["QUERY"]["data"] == ["q", "q"]
        assert inputs["DOCUMENT"]["data"] == ["one", "two"]
        outputs = [
            {"name": "SCORE", "shape": [2, 1], "data": [0.25, 0.5]},
            {"name": "TOKENS", "shape": [2, 1], "data": [2, 3]},
        ]
        return web.json_response({"outputs": outputs})

    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        found = await upstream.answer(call(Kind.RERANK, **RERANK), endpoint(url, protocol="oip"))
    assert found.usage == Usage(prompt_tokens=5, rows=1)
    results = msgspec.json.decode(found.body)["results"]
    assert results == [
        {"index": 1, "relevance_score": 0.5},
        {"index": 0, "relevance_score": 0.25},
    ]


async def test_a_query_that_would_fill_the_memory_is_refused() -> None:
    large = {"query": "q" * 200_000, "documents": ["x"] * 100}
    async with HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        with pytest.raises(UpstreamRefused, match="once for each of the 100 documents") as refused:
            await upstream.answer(
                call(Kind.RERANK, **large), endpoint("http://127.0.0.1:1", protocol="oip")
            )
    assert (refused.value.status, refused.value.param) == (422, "query")


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        [{"name": "SCORE", "shape": [1, 1], "data": [1.0]}],
        [
            {"name": "SCORE", "shape": [1, 1], "data": [1.0]},
            {"name": "TOKENS", "shape": [1, 1], "data": [1]},
        ],
        "x",
    ],
)
async def test_a_reranking_that_is_none_is_the_workers_fault(outputs: object) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.json_response({"outputs": outputs})

    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        with pytest.raises(UpstreamFailed, match="bad_tensors"):
            await upstream.answer(call(Kind.RERANK, **RERANK), endpoint(url, protocol="oip"))


def _scores(**columns: list[float]) -> list[dict[str, object]]:
    return [
        {"name": name, "shape": [len(column), 1], "data": column}
        for name, column in columns.items()
    ]


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        (["one", "two"], ["one", "two"]),
        ([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], ["one\ntwo"]),
        ("one", ["one"]),
    ],
)
async def test_moderations_are_translated_both_ways(given: object, texts: list[str]) -> None:
    async def handle(request: web.Request) -> web.Response:
        (tensor,) = (await request.json())["inputs"]
        assert (tensor["name"], tensor["data"]) == ("TEXT", texts)
        rows = len(texts)
        outputs = _scores(HATE=[0.75, 0.25][:rows], SPAM=[0.5, 0.0][:rows], TOKENS=[2, 3][:rows])
        return web.json_response({"outputs": outputs})

    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        asked = call(Kind.MODERATION, input=given)
        found = await upstream.answer(asked, endpoint(url, protocol="oip"))
    results = msgspec.json.decode(found.body)["results"]
    assert len(results) == len(texts)
    assert results[0] == {
        "flagged": True,
        "categories": {"hate": True, "spam": False},
        "category_scores": {"hate": 0.75, "spam": 0.5},
    }
    assert [result["flagged"] for result in results[1:]] == [False] * (len(texts) - 1)
    assert found.usage is not None
    assert found.usage.prompt_tokens == [2, 5][len(texts) - 1]


@pytest.mark.parametrize(
    "outputs",
    [
        _scores(TOKENS=[1, 1]),
        _scores(HATE=[0.5, 0.5]),
        _scores(HATE=[0.5], TOKENS=[1, 1]),
        "x",
    ],
)
async def test_a_moderation_that_is_none_is_the_workers_fault(outputs: object) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.json_response({"outputs": outputs})

    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        asked = call(Kind.MODERATION, input=["one", "two"])
        with pytest.raises(UpstreamFailed, match="bad_tensors"):
            await upstream.answer(asked, endpoint(url, protocol="oip"))


async def test_images_are_not_moderated_by_texts() -> None:
    parts = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    async with HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        with pytest.raises(UpstreamRefused, match="leave out the images"):
            await upstream.answer(
                call(Kind.MODERATION, input=parts), endpoint("http://127.0.0.1:1", protocol="oip")
            )


@pytest.mark.parametrize(
    "outputs", [[], [{"name": "EMBEDDING", "shape": [1, 2], "data": [1.0]}], "x"]
)
async def test_tensors_that_make_no_sense_are_a_failure(outputs: object) -> None:
    body = msgspec.json.encode({"outputs": outputs})
    async with (
        serving(replying(200, body)) as url,
        HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client,
    ):
        with pytest.raises(UpstreamFailed, match="bad_tensors"):
            await OIPUpstream(HTTPTransport(client, LIMITS)).answer(
                call(Kind.EMBEDDING), endpoint(url, protocol="oip")
            )

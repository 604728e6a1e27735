"""A server may answer anything: each answer has its finding, and none fills the memory."""

import gzip
import json
from typing import Any

import httpx
import pytest

from marketplace.benchmarks.loadgen.plan import plan_of
from marketplace.benchmarks.loadgen.requests import InputsUnknown, tensors_of
from marketplace.providers.conformance.findings import FAIL, PASS, Reply
from marketplace.providers.conformance.http import Client
from marketplace.providers.conformance.oip import judge_infer, judge_metadata
from marketplace.providers.conformance.openai.whole_answers import WHOLE_ANSWERS

OUTPUT = {"name": "Y", "datatype": "FP32", "shape": [-1, 2]}
TENSORS = {"inputs": [], "outputs": [OUTPUT]}
RIGHT = {"name": "Y", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2], [3, 4]]}


def reply(body: Any) -> Reply:
    return Reply(200, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    "outputs",
    [
        5,
        [7],
        [{"name": "Y", "shape": 2}],
        [{"name": "Y", "shape": ["two", 2]}],
        [{"name": ["Y"]}],
        [{**RIGHT, "parameters": ["binary_data_size"]}],
    ],
)
def test_tensors_that_are_none_are_told_so(outputs: Any) -> None:
    for finding in (
        judge_metadata(reply({"outputs": outputs}), TENSORS),
        judge_infer(reply({"outputs": outputs}), [OUTPUT]),
    ):
        assert (finding.verdict, finding.code) == (FAIL, "not_json")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ([[1, 2], [3, 4]], "ok"),
        ([1, [2, 3], 4], "ok"),
        ([1, 2, 3], "data_short"),
        (json.loads("[" * 900 + "]" * 900), "data_short"),
    ],
    ids=["rows", "mixed", "short", "deep"],
)
def test_values_are_counted_however_they_are_nested(data: Any, code: str) -> None:
    assert judge_infer(reply({"outputs": [{**RIGHT, "data": data}]}), [OUTPUT]).code == code


def test_metadata_as_it_should_be_passes() -> None:
    said = {"name": "m", "platform": "x", "outputs": [{**OUTPUT, "more": 1}]}
    assert judge_metadata(reply(said), TENSORS).verdict == PASS


@pytest.mark.parametrize("number", [b"1" + b"0" * 400, b"NaN", b"Infinity", b'"1"'])
def test_a_vector_is_of_numbers(number: bytes) -> None:
    embeddings = WHOLE_ANSWERS["embeddings"]
    answer = b'{"data": [{"embedding": [%s]}]}'
    assert embeddings.is_right(reply(answer % b"0.5"))
    assert embeddings.is_right(reply(answer % number)) is number.startswith(b"10")


async def test_what_comes_packed_is_not_unpacked() -> None:
    """A few bytes may be packed gigabytes."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["accept-encoding"])
        packed = gzip.compress(gzip.compress(bytes(1_000_000)))
        headers = {"content-encoding": "gzip, gzip"}
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(packed))

    client = Client("http://w", httpx.MockTransport(answer))
    got = await client.get("/v1/models")
    await client.close()
    assert asked == ["identity"]
    assert len(got.content) < 10_000


@pytest.mark.parametrize(
    ("datatype", "shape"),
    [("BYTES", [-1, 10**9]), ("FP32", [-1, 10**9]), ("FP32", [-1, 2**62, 4])],
    ids=["texts", "numbers", "more-than-a-product-holds"],
)
def test_no_input_is_made_that_fills_the_memory(datatype: str, shape: list[int]) -> None:
    tensor = {"name": "X", "datatype": datatype, "shape": shape}
    with pytest.raises(InputsUnknown, match="larger than"):
        tensors_of(plan_of("tabular", {"rows": 2}), [tensor], 0)

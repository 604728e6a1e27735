"""Tensors that are not the model's, or not what they say, are refused before they are placed."""

import struct
import tracemalloc
from math import prod
from typing import Any

import msgspec
import pytest
from msgspec import structs
from tritonclient.grpc import service_pb2

from router.contracts.snapshot import Snapshot
from router.domain.catalog import Model
from router.domain.pricing import Usage
from router.ingress.oip.tensors import is_regular
from router.ports.upstream import Answer
from router.settings import Limits
from tests.unit.router.ingress.serving import calling, calling_grpc
from tests.unit.router.pipeline.line import KEY, FakeUpstream, Line, snapshot

pb: Any = service_pb2
AUTH = {"authorization": f"Bearer {KEY}"}
INPUTS = (
    ("X", "FP32", (-1, 3)),
    ("T", "BYTES", (-1, 1)),
    ("N", "INT8", (-1,)),
    ("B", "BOOL", (1,)),
)
PYTHON = ("NoneType", "KeyError", "TypeError", "object is", "Traceback", "list indices", "`int`")


def shop() -> Snapshot:
    made = snapshot()
    chat, _ = made.models
    outputs = (("Y", "FP32", (-1, 1)),)
    return structs.replace(
        made, models=(chat, Model("a/t", "tabular", "1", 0, inputs=INPUTS, outputs=outputs))
    )


def line() -> Line:
    answer = Answer(b'{"model_name":"t","outputs":[]}', "application/json", Usage(rows=1))
    return Line(FakeUpstream(lambda _: answer), catalog=shop())


def x(data: Any, shape: Any = (2, 3), **fields: Any) -> dict[str, Any]:
    return {"name": "X", "datatype": "FP32", "shape": shape, "data": data, **fields}


def t(data: Any, shape: Any = (2, 1)) -> dict[str, Any]:
    return {"name": "T", "datatype": "BYTES", "shape": shape, "data": data}


def n(data: Any, shape: Any = (2,)) -> dict[str, Any]:
    return {"name": "N", "datatype": "INT8", "shape": shape, "data": data}


def b(data: Any) -> dict[str, Any]:
    return {"name": "B", "datatype": "BOOL", "shape": [1], "data": data}


SIX = [1, 2.5, -3e-2, 4, 5, 6]


def test_a_shape_that_is_large_or_empty_costs_what_its_data_does() -> None:
    huge = 1 << 31
    shapes = [[huge, 3], [3, huge], [huge, 0], [0, huge], [2, 0, huge], [huge] * 9]
    found = []
    tracemalloc.start()
    try:
        for shape in shapes:
            found += [is_regular(data, shape, prod(shape)) for data in (b"[]", b"[[],[]]", b"[,]")]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    fitting = [(place // 3, place % 3) for place, result in enumerate(found) if result]
    assert fitting == [(2, 0), (3, 0), (4, 0), (4, 1)]


@pytest.mark.parametrize(
    "tensor",
    [
        x(SIX, name="Z"),
        x(SIX, datatype="FP64"),
        x(SIX, datatype="FP99"),
        x(SIX, datatype=5),
        x(SIX, shape=[6]),
        x(SIX, shape=[1, 2, 3]),
        x(SIX, shape=[3, 2]),
        x(SIX, shape=[2, -3]),
        x(SIX, shape=[2, True]),
        x(SIX, shape=[2, 1.5]),
        x(SIX, shape="2,3"),
        x(SIX, shape=[]),
        x(SIX, shape=[1 << 40, 3]),
        x(SIX, shape=[1 << 30, 3]),
        x(SIX[:5]),
        x([*SIX, 7]),
        x([[1, 2, 3], [4, 5]]),
        x([[1, 2], [3, 4], [5, 6]]),
        x([[1, 2, 3], 4, 5, 6]),
        x([[1, 2, 3], [4, 5, [6]]]),
        x([[[1, 2, 3], [4, 5, 6]]]),
        x([[1, 2, 3], []]),
        x([]),
        x(None),
        x(5),
        x("1,2,3,4,5,6"),
        x({"0": 1}),
        x([*SIX[:5], None]),
        x([*SIX[:5], True]),
        x([*SIX[:5], "6"]),
        x([*SIX[:5], {}]),
        x(SIX, parameters=5),
        x(None, parameters={"binary_data_size": 24}),
        x(None, parameters={"binary_data_size": True}),
        x(None, parameters={"binary_data_size": -1}),
        x(SIX, parameters={"binary_data_size": 0}),
        t(["a"]),
        t(["a", 5]),
        t([["a", "b"]]),
        t([["a"], "b"]),
        t([["a"], ["b", "c"]]),
        t("ab"),
        t(None),
        n([1, 128]),
        n([1, -129]),
        n([1, 2.0]),
        n([1, True]),
        n([1, 10**30]),
        n([[1], [2]]),
        n([], (1,)),
        n([[]], (1,)),
        b([1]),
        b(["true"]),
        {"datatype": "FP32", "shape": [1], "data": [1]},
        5,
        None,
    ],
)
async def test_a_tensor_that_does_not_fit_is_refused_before_it_is_placed(tensor: Any) -> None:
    asked = line()
    async with calling(asked) as client:
        answer = await client.post("/v2/models/a/t/infer", json={"inputs": [tensor]}, headers=AUTH)
    assert answer.status_code == 422, answer.text
    assert not any(word in answer.json()["error"] for word in PYTHON), answer.text
    assert not asked.upstream.called
    assert not asked.records


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": []},
        {"inputs": None},
        {"inputs": {}},
        {},
        [],
        {"inputs": [x(SIX)], "id": 5},
        {"inputs": [x(SIX)], "outputs": 5},
        {"inputs": [x(SIX)], "outputs": ["Y"]},
        {"inputs": [x(SIX)], "outputs": [{"name": "Z"}]},
        {"inputs": [x(SIX), x(SIX)]},
    ],
)
async def test_a_call_that_is_no_inference_is_refused(body: Any) -> None:
    asked = line()
    async with calling(asked) as client:
        answer = await client.post("/v2/models/a/t/infer", json=body, headers=AUTH)
    assert answer.status_code == 422, answer.text
    assert not asked.upstream.called


@pytest.mark.parametrize(
    "tensors",
    [
        [x(SIX)],
        [x([[1, 2, 3], [4, 5, 6]])],
        [x([1, 2, 3], shape=[1, 3], parameters=None), t([["a,[b]"]], (1, 1))],
        [t(["a", '"],[']), n([127, -128]), b([True])],
        [x(SIX, new_field={"x": 1}, parameters={"new": 5, "binary_data_size": None})],
    ],
)
async def test_tensors_that_fit_pass(tensors: list[Any]) -> None:
    asked = line()
    async with calling(asked) as client:
        body = {"inputs": tensors, "outputs": [{"name": "Y"}], "id": None, "new": 1}
        answer = await client.post("/v2/models/a/t/infer", json=body, headers=AUTH)
        # As people and pretty-printers write it.
        spaced = msgspec.json.format(msgspec.json.encode(body), indent=2)
        again = await client.post("/v2/models/a/t/infer", content=spaced, headers=AUTH)
    assert (answer.status_code, again.status_code) == (200, 200), answer.text + again.text


HUGE = [1 << 31] * 500
NESTED = b"[" * 480 + b'"a"' + b"]" * 480


@pytest.mark.parametrize(
    ("shape", "datatype", "data"),
    [(HUGE, "FP32", b"[1]"), ([1] * 480, "BYTES", NESTED)],
)
async def test_a_tensor_has_so_many_dimensions_also_where_none_is_declared(
    shape: list[int], datatype: str, data: bytes
) -> None:
    """As much is computed and told as a few bytes may ask for."""
    asked = Line(line().upstream)
    fields = {"name": "x", "datatype": datatype, "shape": shape, "data": msgspec.Raw(data)}
    body = msgspec.json.encode({"inputs": [fields]})
    async with calling(asked) as client:
        answer = await client.post("/v2/models/a/t/infer", content=body, headers=AUTH)
    assert answer.status_code == 422, answer.text
    assert "length <= 64" in answer.json()["error"]
    message = pb.ModelInferRequest(model_name="a/t", raw_input_contents=[b"\0" * 4])
    message.inputs.add(name="x", datatype=datatype, shape=shape)
    async with calling_grpc(asked, Limits()) as stub:
        with pytest.raises(Exception, match="INVALID_ARGUMENT"):
            await stub.ModelInfer(message, metadata=(("authorization", f"Bearer {KEY}"),))
    assert not asked.upstream.called


async def test_a_tensor_without_values_may_be_written_with_all_its_brackets() -> None:
    asked = Line(line().upstream)
    tensor = {"name": "x", "datatype": "INT8", "shape": [2, 0], "data": [[], []]}
    async with calling(asked) as client:
        answer = await client.post("/v2/models/a/t/infer", json={"inputs": [tensor]}, headers=AUTH)
    assert answer.status_code == 200, answer.text


def text(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


@pytest.mark.parametrize(
    ("tensor", "tail", "status"),
    [
        (x(None, shape=[1, 3]), b"\0" * 12, 200),
        (x(None, shape=[1, 3]), b"\0" * 8, 422),
        (x(None, shape=[1, 3]), b"\0" * 16, 422),
        (t(None), text(b"a") + text(b""), 200),
        (t(None), text(b"a"), 422),
        (t(None), text(b"a") + text(b"b") + text(b"c"), 422),
        (t(None), text(b"abc")[:-1], 422),
    ],
)
async def test_binary_tensors_are_as_long_as_their_shape(
    tensor: dict[str, Any], tail: bytes, status: int
) -> None:
    del tensor["data"]
    head = msgspec.json.encode(
        {"inputs": [{**tensor, "parameters": {"binary_data_size": len(tail)}}]}
    )
    headers = {**AUTH, "inference-header-content-length": str(len(head))}
    asked = line()
    async with calling(asked) as client:
        answer = await client.post("/v2/models/a/t/infer", content=head + tail, headers=headers)
        left = await client.post(
            "/v2/models/a/t/infer", content=head + tail + b"!", headers=headers
        )
    assert (answer.status_code, left.status_code) == (status, 422), answer.text


@pytest.mark.parametrize(
    ("name", "datatype", "shape", "raw"),
    [
        ("Z", "FP32", [1, 3], b"\0" * 12),
        ("X", "FP64", [1, 3], b"\0" * 24),
        ("X", "FP32", [3], b"\0" * 12),
        ("X", "FP32", [1, 3], b"\0" * 8),
        ("X", "FP32", [-1, 3], b"\0" * 12),
        ("X", "NONE", [1, 3], b"\0" * 12),
    ],
)
async def test_over_grpc_too(name: str, datatype: str, shape: list[int], raw: bytes) -> None:
    asked = line()
    message = pb.ModelInferRequest(model_name="a/t", raw_input_contents=[raw])
    message.inputs.add(name=name, datatype=datatype, shape=shape)
    async with calling_grpc(asked, Limits()) as stub:
        with pytest.raises(Exception, match="INVALID_ARGUMENT"):
            await stub.ModelInfer(message, metadata=(("authorization", f"Bearer {KEY}"),))
    assert not asked.upstream.called

"""REST and gRPC say the same thing: one becomes the other and back without loss."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from router.contracts import oip

INTS = {"INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64}
UINTS = {f"U{name}": bits for name, bits in INTS.items()}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "BOOL": st.booleans(),
    "FP16": st.floats(width=16, allow_nan=False, allow_infinity=False),
    "FP32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "FP64": st.floats(allow_nan=False, allow_infinity=False),
    "BF16": st.integers(-100, 100).map(float),
    "BYTES": st.text(max_size=9),
    **{name: st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for name, bits in INTS.items()},
    **{name: st.integers(0, 2**bits - 1) for name, bits in UINTS.items()},
}
TENSORS = st.sampled_from(sorted(VALUES)).flatmap(
    lambda datatype: st.tuples(st.just(datatype), st.lists(VALUES[datatype], max_size=6))
)


def rest(header: dict[str, Any]) -> bytes:
    return json.dumps(header).encode()


@given(TENSORS)
def test_values_survive_as_bytes(tensor: tuple[str, list[Any]]) -> None:
    datatype, values = tensor
    assert oip.values_of(datatype, oip.raw_of(datatype, values)) == values


@given(
    st.lists(TENSORS, min_size=1, max_size=3),
    st.text(max_size=5),
    st.dictionaries(
        st.text("abc", min_size=1), st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
    ),
)
def test_a_request_survives_the_way_to_grpc_and_back(
    tensors: list[tuple[str, list[Any]]], id_: str, parameters: dict[str, Any]
) -> None:
    inputs = [
        {"name": f"in{i}", "datatype": datatype, "shape": [len(values)], "data": values}
        for i, (datatype, values) in enumerate(tensors)
    ]
    header = {"id": id_, "inputs": inputs, "parameters": parameters, "outputs": [{"name": "out"}]}
    message = oip.request_to_grpc(rest(header), None, "m")
    assert (message.model_name, message.id) == ("m", id_)
    body, length = oip.request_to_rest(message)
    received, tail = oip.split(body, length)
    assert received.get("id", "") == id_
    assert received["parameters"] == {**parameters, "binary_data_output": True}
    assert [tensor["name"] for tensor in received["outputs"]] == ["out"]
    at = 0
    for (datatype, values), item in zip(tensors, received["inputs"], strict=True):
        size = item["parameters"]["binary_data_size"]
        assert (item["datatype"], item["shape"]) == (datatype, [len(values)])
        assert oip.values_of(datatype, tail[at : at + size]) == values
        at += size
    assert oip.request_to_grpc(body, length, "m") == message


@given(TENSORS, st.booleans())
def test_an_answer_comes_as_json_or_binary_as_it_was_wanted(
    tensor: tuple[str, list[Any]], binary: bool
) -> None:
    datatype, values = tensor
    message = pb.ModelInferResponse(model_name="m", model_version="1", id="x")
    message.outputs.add(name="out", datatype=datatype, shape=[len(values)])
    message.raw_output_contents.append(oip.raw_of(datatype, values))
    body, length = oip.response_to_rest(message, lambda _: binary)
    assert (length is not None) is binary
    header, tail = oip.split(body, length)
    (out,) = header["outputs"]
    assert (oip.values_of(datatype, tail) if binary else out["data"]) == values
    assert oip.response_to_grpc(body, length, "m") == message


def test_typed_contents_are_taken_like_raw_ones() -> None:
    message = pb.ModelInferRequest(model_name="m")
    one = message.inputs.add(name="a", datatype="FP32", shape=[2])
    one.contents.fp32_contents.extend([1.5, -2.0])
    two = message.inputs.add(name="b", datatype="BYTES", shape=[1])
    two.contents.bytes_contents.append(b"hi")
    body, length = oip.request_to_rest(message)
    _, tail = oip.split(body, length)
    assert tail == np.array([1.5, -2.0], "<f4").tobytes() + b"\x02\0\0\0hi"


def test_binary_is_wanted_for_all_or_for_some() -> None:
    outputs = [{"name": "a", "parameters": {"binary_data": False}}, {"name": "b"}]
    wants = oip.binary_wanted(
        rest({"parameters": {"binary_data_output": True}, "outputs": outputs}), None
    )
    assert [wants(name) for name in "abc"] == [False, True, True]
    assert not oip.binary_wanted(rest({"inputs": []}), None)("a")


@pytest.mark.parametrize(
    "header",
    [
        {"inputs": [{"name": "a"}]},
        {"inputs": ["a"]},
        {"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "data": ["x"]}]},
        {"inputs": [{"name": "a", "datatype": "FP99", "shape": [1], "data": [1]}]},
        {"inputs": [{"name": "a", "datatype": "INT8", "shape": [1], "data": [999]}]},
        {"inputs": [{"name": "a", "datatype": "BYTES", "shape": [1], "data": [9]}]},
        {
            "inputs": [
                {
                    "name": "a",
                    "datatype": "INT8",
                    "shape": [9],
                    "parameters": {"binary_data_size": 9},
                }
            ]
        },
        {"inputs": [], "parameters": {"a": [1]}},
    ],
)
def test_what_makes_no_sense_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(oip.TensorsInvalid):
        oip.request_to_grpc(rest(header), None, "m")


@given(st.binary(max_size=40))
def test_bytes_that_are_no_texts_are_refused_or_read(raw: bytes) -> None:
    try:
        values = oip.values_of("BYTES", raw)
    except (oip.TensorsInvalid, UnicodeDecodeError):
        return
    assert oip.raw_of("BYTES", values) == raw

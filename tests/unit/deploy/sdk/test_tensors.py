"""Tensors as the router reads and writes them, with NumPy and without."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from waypost import Tensor
from waypost.errors import AnswerInvalid
from waypost.tensors import HEADER_LENGTH, OF_NUMPY, decode, encode, tensor_of

from router.contracts.oip import DTYPES
from router.ingress.oip.tensors import decode as router_decode
from tests.unit.deploy.sdk.service import Service, blocking, said


def split(body: bytes, headers: dict[str, str]) -> tuple[bytes, bytes]:
    length = int(headers[HEADER_LENGTH])
    return body[:length], body[length:]


@given(
    rows=st.lists(
        st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3), min_size=1
    )
)
def test_lists_and_arrays_are_the_same_tensor(rows: list[list[float]]) -> None:
    array = tensor_of(np.array(rows, np.float32))
    lists = tensor_of(rows, "FP32")
    assert array.shape == lists.shape == (len(rows), 3)
    assert array.nested() == lists.nested() == rows


def test_every_datatype_of_numpy_is_one_of_the_routers_and_comes_back() -> None:
    assert set(OF_NUMPY.values()) == set(DTYPES)
    for datatype, dtype in DTYPES.items():
        values = np.array([[0, 1], [1, 0]], dtype)
        tensor = tensor_of(values)
        assert (tensor.datatype, tensor.shape) == (datatype, (2, 2))
        assert tensor.nested() == values.tolist()


def test_big_endian_arrays_and_texts_are_sent_right() -> None:
    assert tensor_of(np.array([1, 2], ">i4")).nested() == [1, 2]
    assert tensor_of(np.array(["a", "é"])).nested() == ["a", "é"]


@pytest.mark.parametrize("value", [[[1], [1, 2]], [1, [2]], [[1], 2], [[[1]], [[1, 2]]]])
def test_ragged_lists_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="ragged"):
        tensor_of(value, "FP32")


def test_a_shape_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="has 4 values, data has 3"):
        Tensor("FP32", (2, 2), [1, 2, 3])


def test_what_is_sent_is_what_the_router_reads() -> None:
    tensors = {
        "A": tensor_of(np.ones((2, 3), np.float32)),
        "B": tensor_of([[1], [2]], "INT64"),
        "C": tensor_of([["x"], ["y"]], "BYTES"),
    }
    body, headers = encode(tensors, None)
    header, tail = split(body, headers)
    read = router_decode(header)
    assert [(one.name, one.datatype, tuple(one.shape)) for one in read.inputs] == [
        ("A", "FP32", (2, 3)),
        ("B", "INT64", (2, 1)),
        ("C", "BYTES", (2, 1)),
    ]
    assert read.inputs[0].binary_bytes == len(tail) == 24


def answer(outputs: list[dict[str, object]], tail: bytes = b"") -> tuple[bytes, dict[str, str]]:
    text = json.dumps({"model_name": "a/b", "outputs": outputs}).encode()
    return text + tail, {HEADER_LENGTH: str(len(text))}


def test_answers_are_read_in_either_form() -> None:
    binary = {"name": "A", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}
    plain = {"name": "B", "datatype": "INT32", "shape": [2, 1], "data": [[1], [2]]}
    texts = {"name": "C", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 10}}
    tail = np.array([1, 2], "<f4").tobytes() + b"\x01\x00\x00\x00a\x01\x00\x00\x00b"
    name, found = decode(*answer([binary, plain, texts], tail))
    assert name == "a/b"
    assert {name: tensor.nested() for name, tensor in found.items()} == {
        "A": [1.0, 2.0],
        "B": [[1], [2]],
        "C": ["a", "b"],
    }


@pytest.mark.parametrize(
    "outputs",
    [
        [{"name": "A", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 9}}],
        [{"name": "A", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": -1}}],
        [{"name": "A", "datatype": "FP32", "shape": [3], "data": [1]}],
        [{"name": "A"}],
    ],
)
def test_tensors_that_lie_about_their_size_are_refused(outputs: list[dict[str, object]]) -> None:
    with pytest.raises(AnswerInvalid):
        decode(*answer(outputs, b"12345678"))


def test_lists_take_the_datatype_that_the_model_says_and_it_is_asked_once() -> None:
    told = {"inputs": [{"name": "F", "datatype": "FP32", "shape": [-1, 2]}]}
    answered = {"outputs": [{"name": "P", "datatype": "FP32", "shape": [1], "data": [0.5]}]}
    service = Service([said(200, told), said(200, answered), said(200, answered)])

    def twice(client: object) -> object:
        client.infer("a/b", {"F": [[1, 2]]})  # type: ignore[attr-defined]
        return client.infer("a/b", {"F": [[3, 4]]}, priority="interactive")  # type: ignore[attr-defined]

    found = blocking(service, twice)
    assert found["P"].nested() == [0.5]
    assert [asked.url.path for asked in service.asked] == [
        "/v2/models/a/b",
        "/v2/models/a/b/infer",
        "/v2/models/a/b/infer",
    ]
    assert service.asked[2].headers["x-route-priority"] == "interactive"
    with pytest.raises(ValueError, match="no input 'G'; it has F"):
        blocking(Service([said(200, told)]), lambda client: client.infer("a/b", {"G": [[1]]}))

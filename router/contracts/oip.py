"""The Open Inference Protocol's two shapes: JSON with binary tensors (REST), and protobuf (gRPC).

A call travels through the router in the REST shape and is converted where a client or a worker
speaks gRPC.
Sources: KServe's Open Inference Protocol v2 and Triton's binary tensor data extension.
"""

import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import msgspec
import numpy as np
from tritonclient.grpc import service_pb2

from router.contracts.wire import UNREADABLE

pb: Any = service_pb2  # Generated at run time, so its classes have no types.

BINARY_SIZE = "binary_data_size"
BINARY = "binary_data"
BINARY_OUTPUT = "binary_data_output"
FINAL = "triton_final_response"
"""The parameter of a streamed answer that says whether it is the last one to its request."""

BYTES, BF16 = "BYTES", "BF16"
TENSOR_FIELDS = {"name", "datatype", "shape"}
DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
_PARAMETER_FIELDS = (
    (bool, "bool_param"),  # Before int, because a bool is an int.
    (int, "int64_param"),
    (str, "string_param"),
    (float, "double_param"),
)
_LENGTH = struct.Struct("<I")

Header = dict[str, Any]
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class TensorsInvalid(ValueError):
    """A message does not hold the tensors that it describes."""


MISSHAPEN = (ValueError, TypeError, LookupError, AttributeError)
"""What :func:`binary_wanted`, :func:`request_to_grpc` and :func:`response_to_grpc` raise for a REST
body whose fields have the wrong types."""


def split(body: bytes, header_length: int | None) -> tuple[Header, bytes]:
    """The JSON header and the binary tail of a REST body. Raises ``TensorsInvalid``."""
    length = len(body) if header_length is None else header_length
    try:
        return _decode(body[:length]), body[length:]
    except UNREADABLE as error:
        raise TensorsInvalid(f"the header is not a JSON object: {error}") from None


def request_to_rest(message: Any) -> tuple[bytes, int]:
    """A ``ModelInferRequest`` as a REST body that asks for binary outputs, and its header's length.

    Raises ``TensorsInvalid``.
    """
    header: Header = {"parameters": {**_parameters(message.parameters), BINARY_OUTPUT: True}}
    if message.id:
        header["id"] = message.id
    raws = list(_raws(message.inputs, message.raw_input_contents))
    header["inputs"] = [_described(t, raw) for t, raw in zip(message.inputs, raws, strict=True)]
    if message.outputs:
        header["outputs"] = [
            {"name": output.name, "parameters": {**_parameters(output.parameters), BINARY: True}}
            for output in message.outputs
        ]
    head = _encode(header)
    return b"".join((head, *raws)), len(head)


def request_to_grpc(body: bytes, header_length: int | None, model: str) -> Any:
    """A REST body as a ``ModelInferRequest``. Raises ``TensorsInvalid``."""
    header, tail = split(body, header_length)
    message = pb.ModelInferRequest(model_name=model, id=header.get("id", ""))
    _set_parameters(message.parameters, header.get("parameters"), leave=(BINARY_OUTPUT,))
    for tensor, raw in _tensors(header.get("inputs"), tail):
        made = message.inputs.add(name=tensor["name"], datatype=tensor["datatype"])
        made.shape.extend(tensor["shape"])
        _set_parameters(made.parameters, tensor.get("parameters"), leave=(BINARY_SIZE,))
        message.raw_input_contents.append(raw)
    for wanted in header.get("outputs") or ():
        made = message.outputs.add(name=wanted["name"])
        _set_parameters(made.parameters, wanted.get("parameters"), leave=(BINARY,))
    return message


def binary_wanted(body: bytes, header_length: int | None) -> Callable[[str], bool]:
    """A function that tells whether a REST request wants an output in binary.

    Raises ``TensorsInvalid``.
    """
    header, _ = split(body, header_length)
    parameters: Header = header.get("parameters") or {}
    default = bool(parameters.get(BINARY_OUTPUT, False))
    outputs: list[Header] = header.get("outputs") or []
    named: dict[str, bool] = {}
    for output in outputs:
        own: Header = output.get("parameters") or {}
        named[output["name"]] = bool(own.get(BINARY, default))
    return lambda name: named.get(name, default)


def response_to_rest(message: Any, wants_binary: Callable[[str], bool]) -> tuple[bytes, int | None]:
    """A ``ModelInferResponse`` as a REST body, and its header's length if any tensor is binary.

    Raises ``TensorsInvalid``.
    """
    header: Header = {"model_name": message.model_name, "model_version": message.model_version}
    if message.id:
        header["id"] = message.id
    if message.parameters:
        header["parameters"] = _parameters(message.parameters)
    outputs: list[Header] = []
    tail: list[bytes] = []
    raws = _raws(message.outputs, message.raw_output_contents)
    for tensor, raw in zip(message.outputs, raws, strict=True):
        made = _described(tensor, raw)
        if wants_binary(tensor.name):
            tail.append(raw)
        else:
            del made["parameters"][BINARY_SIZE]
            made["data"] = values_of(tensor.datatype, raw)
        outputs.append(made)
    header["outputs"] = outputs
    head = _encode(header)
    return b"".join((head, *tail)), len(head) if tail else None


def response_to_grpc(body: bytes, header_length: int | None, model: str) -> Any:
    """A REST answer as a ``ModelInferResponse``. Raises ``TensorsInvalid``."""
    header, tail = split(body, header_length)
    message = pb.ModelInferResponse(
        model_name=model, model_version=header.get("model_version", ""), id=header.get("id", "")
    )
    _set_parameters(message.parameters, header.get("parameters"))
    for tensor, raw in _tensors(header.get("outputs"), tail):
        made = message.outputs.add(name=tensor["name"], datatype=tensor["datatype"])
        made.shape.extend(tensor["shape"])
        _set_parameters(made.parameters, tensor.get("parameters"), leave=(BINARY_SIZE,))
        message.raw_output_contents.append(raw)
    return message


def event_of(message: Any) -> bytes:
    """A ``ModelInferResponse`` as one server-sent event: how routers stream them to each other."""
    return b"data: %b\n\n" % b64encode(message.SerializeToString())


def message_of(event: bytes) -> Any:
    """The ``ModelInferResponse`` in an event's data."""
    return pb.ModelInferResponse.FromString(b64decode(event))


def raw_of(datatype: str, values: Any) -> bytes:
    """The bytes of a tensor for (nested) values. Raises ``TensorsInvalid``."""
    flat = list(_flat(values))
    try:
        if datatype == BYTES:
            return b"".join(_prefixed(value) for value in flat)
        if datatype == BF16:
            return (np.asarray(flat, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
        dtype: Any = DTYPES[datatype]
        if np.dtype(dtype).kind in "iu":
            _check_integers(flat, np.iinfo(dtype))
        return np.asarray(flat, dtype).astype(_little(datatype)).tobytes()
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise TensorsInvalid(f"values do not fit the datatype {datatype!r}: {error}") from None


def values_of(datatype: str, raw: bytes) -> list[Any]:
    """The bytes of a tensor as a flat list of JSON values. Raises ``TensorsInvalid``."""
    try:
        if datatype == BYTES:
            return [text.decode() for text in _unprefixed(raw)]
        if datatype == BF16:
            widened = np.frombuffer(raw, "<u2").astype("<u4") << 16
            return widened.view("<f4").tolist()
        return np.frombuffer(raw, _little(datatype)).tolist()
    except (KeyError, ValueError) as error:
        raise TensorsInvalid(f"bytes do not fit the datatype {datatype!r}: {error}") from None


def texts_in(raw: bytes) -> int:
    """How many elements a BYTES tensor has. Raises ``TensorsInvalid``."""
    return sum(1 for _ in _unprefixed(raw))


def _check_integers(values: list[Any], bounds: Any) -> None:
    for value in values:
        if not isinstance(value, int) or not bounds.min <= value <= bounds.max:
            raise ValueError(f"{value!r} is not within {bounds.min} to {bounds.max}")


def _little(datatype: str) -> Any:
    return np.dtype(DTYPES[datatype]).newbyteorder("<")


def _flat(values: Any) -> Iterator[Any]:
    if isinstance(values, list):
        for value in values:
            yield from _flat(value)
    else:
        yield values


def _prefixed(value: Any) -> bytes:
    if not isinstance(value, str | bytes):  # bytes(3) would be three zeros.
        raise TypeError(f"{value!r} is no text")
    raw = value.encode() if isinstance(value, str) else value
    return _LENGTH.pack(len(raw)) + raw


def _unprefixed(raw: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(raw):
        if at + _LENGTH.size > len(raw):
            raise TensorsInvalid("a BYTES tensor ends within a length")
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if at + length > len(raw):
            raise TensorsInvalid("a BYTES tensor is shorter than its elements")
        yield raw[at : at + length]
        at += length


def _described(tensor: Any, raw: bytes) -> Header:
    parameters = {**_parameters(tensor.parameters), BINARY_SIZE: len(raw)}
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
        "parameters": parameters,
    }


def _raws(tensors: Any, raw_contents: Any) -> Iterator[bytes]:
    """The bytes of each tensor of a message, wherever the message keeps them."""
    if raw_contents:
        if len(raw_contents) != len(tensors):
            raise TensorsInvalid(f"{len(raw_contents)} raw contents for {len(tensors)} tensors")
        yield from raw_contents
        return
    for tensor in tensors:
        field = CONTENTS.get(tensor.datatype)
        if field is None:
            raise TensorsInvalid(f"datatype {tensor.datatype!r} needs raw contents")
        yield raw_of(tensor.datatype, list(getattr(tensor.contents, field)))


def _tensors(tensors: Any, tail: bytes) -> Iterator[tuple[Header, bytes]]:
    """Each tensor of a REST header with its bytes, taken from the tail or from ``data``."""
    at = 0
    for tensor in tensors or ():
        if not isinstance(tensor, dict) or not tensor.keys() >= TENSOR_FIELDS:
            raise TensorsInvalid("a tensor needs name, datatype and shape")
        made = cast("Header", tensor)
        parameters: Header = made.get("parameters") or {}
        size = parameters.get(BINARY_SIZE)
        if size is None:
            yield made, raw_of(made["datatype"], made.get("data"))
            continue
        if not isinstance(size, int) or isinstance(size, bool) or size < 0 or at + size > len(tail):
            raise TensorsInvalid(f"{BINARY_SIZE} {size!r} does not fit the {len(tail)} bytes sent")
        yield made, tail[at : at + size]
        at += size


def _parameters(parameters: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        field = parameter.WhichOneof("parameter_choice")
        if field is None:
            raise TensorsInvalid(f"parameter {name!r} has no value")
        found[name] = getattr(parameter, field)
    return found


def _set_parameters(
    target: Any, parameters: Mapping[str, Any] | None, *, leave: tuple[str, ...] = ()
) -> None:
    for name, value in (parameters or {}).items():
        field = next((f for kind, f in _PARAMETER_FIELDS if isinstance(value, kind)), None)
        if name in leave:
            continue
        if field is None:
            raise TensorsInvalid(f"parameter {name!r} must be a boolean, a number or a text")
        setattr(target[name], field, value)


def flow_control(ahead_bytes: int) -> list[tuple[str, int]]:
    """Options of gRPC that bound how far a sender may be ahead of its reader.

    Without them gRPC widens each stream's window as fast as the bytes come: for one client that
    reads nothing, a router kept more than 16 MiB. It grants up to twice its look-ahead.
    """
    return [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", ahead_bytes // 2)]

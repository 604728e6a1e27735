"""Tensors of the Open Inference Protocol: JSON, and Triton's extension for binary data. Pure."""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from waypost.errors import AnswerInvalid
from waypost.shapes import Route

HEADER_LENGTH = "inference-header-content-length"
CODES = {
    "BOOL": "b",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP32": "f",
    "FP64": "d",
}
"""``array``'s letter by datatype. FP16 and BF16 travel as bytes."""
OF_NUMPY = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
TEXT = "BYTES"
LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Tensor:
    """``data`` is flat, row by row: numbers or texts, or the bytes of little-endian numbers."""

    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any] | bytes = field(repr=False)

    def __post_init__(self) -> None:
        size = prod(self.shape)
        if not isinstance(self.data, bytes) and len(self.data) != size:
            raise ValueError(f"shape {self.shape} has {size} values, data has {len(self.data)}")

    def nested(self) -> Any:
        """As lists in lists."""
        values: list[Any] = list(self.values())
        for width in reversed(self.shape[1:]):
            values = [values[at : at + width] for at in range(0, len(values), width or 1)]
        return values

    def values(self) -> Sequence[Any]:
        """Flat. Raises ValueError for bytes of a datatype that Python has no numbers of."""
        if not isinstance(self.data, bytes):
            return self.data
        if self.datatype == TEXT:
            return list(_texts(self.data))
        if self.datatype == "FP16":
            return list(struct.unpack(f"<{len(self.data) // 2}e", self.data))
        code = CODES.get(self.datatype)
        if code is None:
            raise ValueError(f"{self.datatype} has no numbers in Python; its bytes are in data")
        numbers = array(code, self.data)
        if sys.byteorder == "big":
            numbers.byteswap()
        return [bool(number) for number in numbers] if self.datatype == "BOOL" else numbers.tolist()


@dataclass(frozen=True)
class Tensors:
    """The outputs of a call, by name."""

    outputs: Mapping[str, Tensor]
    model: str
    route: Route

    def __getitem__(self, name: str) -> Tensor:
        return self.outputs[name]


def tensor_of(value: Any, datatype: str | None = None) -> Tensor:
    """A tensor out of a tensor, a NumPy array, or lists in lists of the ``datatype``.

    Raises ValueError for lists that are ragged.
    """
    if isinstance(value, Tensor):
        return value
    if hasattr(value, "tobytes") and hasattr(value, "dtype") and hasattr(value, "shape"):
        return _of_numpy(value)
    if datatype is None:
        raise ValueError("lists need the datatype of their tensor")
    shape, flat = _flattened(value)
    return Tensor(datatype, shape, flat)


def _of_numpy(value: Any) -> Tensor:
    datatype = OF_NUMPY.get(value.dtype.name)
    if datatype is not None:
        little = value.astype(value.dtype.newbyteorder("<"), copy=False)
        return Tensor(datatype, tuple(value.shape), little.tobytes())
    if value.dtype.kind in "OUS":
        return Tensor(TEXT, tuple(value.shape), [_text(one) for one in value.ravel().tolist()])
    raise ValueError(f"an array of {value.dtype} has no datatype; there are {', '.join(OF_NUMPY)}")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _flattened(value: Any) -> tuple[tuple[int, ...], list[Any]]:
    shape: list[int] = []
    level: Iterable[Any] = [value]
    while True:
        rows = list(level)
        if not rows or not isinstance(rows[0], (list, tuple)):
            if any(isinstance(row, (list, tuple)) for row in rows):
                raise ValueError("the lists are ragged: some values are lists, others are not")
            return tuple(shape) or (1,), rows
        widths = {len(row) if isinstance(row, (list, tuple)) else -1 for row in rows}
        if len(widths) > 1:
            raise ValueError(f"the lists are ragged: dimension {len(shape)} has unlike lengths")
        shape.append(widths.pop())
        level = (one for row in rows for one in row)


def encode(
    inputs: Mapping[str, Tensor], outputs: Sequence[str] | None
) -> tuple[bytes, dict[str, str]]:
    """The body of a call and its headers. Bytes go behind the JSON, and so come the outputs."""
    tail = bytearray()
    told = []
    for name, tensor in inputs.items():
        one: dict[str, Any] = {
            "name": name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
        }
        if isinstance(tensor.data, bytes):
            one["parameters"] = {"binary_data_size": len(tensor.data)}
            tail += tensor.data
        else:
            one["data"] = list(tensor.data)
        told.append(one)
    header: dict[str, Any] = {"inputs": told}
    if outputs is None:
        header["parameters"] = {"binary_data_output": True}
    else:
        header["outputs"] = [
            {"name": name, "parameters": {"binary_data": True}} for name in outputs
        ]
    text = json.dumps(header, separators=(",", ":")).encode()
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
    return text + bytes(tail), headers


def decode(body: bytes, headers: Mapping[str, str]) -> tuple[str, dict[str, Tensor]]:
    """The model and the outputs of an answer. Raises :class:`AnswerInvalid`."""
    try:
        length = int(headers.get(HEADER_LENGTH, len(body)))
        header = json.loads(body[:length])
        outputs: dict[str, Tensor] = {}
        at = length
        for one in header["outputs"]:
            shape, datatype = tuple(map(int, one["shape"])), str(one["datatype"])
            size = (one.get("parameters") or {}).get("binary_data_size")
            if size is None:
                outputs[one["name"]] = Tensor(datatype, shape, list(_flat(one["data"])))
                continue
            if size < 0 or at + size > len(body):
                raise ValueError(f"{one['name']} ends behind the body")
            outputs[one["name"]] = Tensor(datatype, shape, body[at : at + size])
            at += size
        return str(header.get("model_name") or ""), outputs
    except (ValueError, KeyError, TypeError) as error:
        raise AnswerInvalid(f"these are no tensors: {error!r}") from error


def _flat(data: Any) -> Iterator[Any]:
    for one in data:
        if isinstance(one, list):
            yield from _flat(one)
        else:
            yield one


def _texts(data: bytes) -> Iterator[str]:
    at = 0
    while at < len(data):
        if at + LENGTH.size > len(data):
            raise ValueError("the texts end within a length")
        (length,) = LENGTH.unpack_from(data, at)
        at += LENGTH.size
        if at + length > len(data):
            raise ValueError("the texts end within one")
        yield data[at : at + length].decode("utf-8", "replace")
        at += length

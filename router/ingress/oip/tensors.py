"""Checks the tensors of an Open Inference Protocol call, by themselves and against the catalog.

A worker refuses missing, ragged or mistyped tensors, or fails on them. The check parses no floats:
JSON without the characters of its values shows the shape.
"""

from collections.abc import Iterable, Iterator
from math import prod
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Raw

from router.contracts import oip
from router.contracts.wire import UNREADABLE
from router.domain.catalog import Model
from router.domain.errors import RequestInvalid
from router.ingress.unfit import unfit

SPACE = b" \t\n\r"
BRACKETS = b"[],"
INTEGER = b"0123456789-"
LETTERS = dict.fromkeys(("BF16", "FP16", "FP32", "FP64"), INTEGER + b".eE+") | {"BOOL": b"truefals"}
"""The characters of a datatype's values in JSON. All other datatypes are whole numbers."""

WIDTHS = {name: np.dtype(dtype).itemsize for name, dtype in oip.DTYPES.items()} | {"BF16": 2}
"""Bytes of one binary value by datatype. A text has its length before it."""

DATATYPES = frozenset({*WIDTHS, oip.BYTES})
ELEMENTS_MAX = 1 << 31
DIMENSIONS_MAX = 64
"""NumPy's arrays have no more."""
NULL = b"null"


class _Parameters(msgspec.Struct, gc=False):
    binary_data_size: Annotated[int, Meta(ge=0)] | None = None


class Tensor(msgspec.Struct, gc=False):
    """An input. Its values are in ``data``, or in the binary tail if it has a size."""

    name: str
    datatype: str
    shape: Annotated[
        list[Annotated[int, Meta(ge=0, le=ELEMENTS_MAX)]], Meta(max_length=DIMENSIONS_MAX)
    ]
    data: Raw = Raw(NULL)
    parameters: _Parameters | None = None

    @property
    def binary_bytes(self) -> int | None:
        """Its bytes of the tail; None if its values are in ``data``."""
        return None if self.parameters is None else self.parameters.binary_data_size


class _Output(msgspec.Struct, gc=False):
    name: str


class Inference(msgspec.Struct, gc=False):
    """The header of a call. Fields that are not declared here pass through."""

    inputs: list[Tensor]
    id: str | None = None
    outputs: list[_Output] | None = None


decode = msgspec.json.Decoder(Inference).decode
_decode_texts = msgspec.json.Decoder(list[Any]).decode


def check_inference(inference: Inference, tail: memoryview, model: Model) -> None:
    """Raises ``RequestInvalid`` that names the tensor, what it is and what it must be."""
    _check_names((tensor.name for tensor in inference.inputs), model.inputs, "inputs")
    _check_names((output.name for output in inference.outputs or ()), model.outputs, "outputs")
    known = {name: (datatype, shape) for name, datatype, shape in model.inputs}
    at = 0
    for tensor in inference.inputs:
        if tensor.datatype not in DATATYPES:
            raise _wrong(tensor, f"has the unknown datatype {tensor.datatype!r}")
        if tensor.name in known:
            _check_declared(tensor, *known[tensor.name])
        size = tensor.binary_bytes
        if size is None:
            _check_data(tensor, bytes(tensor.data))
            continue
        if bytes(tensor.data) != NULL:
            raise _wrong(tensor, "has data and binary_data_size; give one of them")
        if at + size > len(tail):
            raise _wrong(tensor, f"has a binary_data_size of {size}; {len(tail) - at} bytes came")
        _check_binary(tensor, tail[at : at + size])
        at += size
    if at != len(tail):
        raise RequestInvalid(f"{len(tail) - at} binary bytes belong to no tensor", param="inputs")


def _check_names(names: Iterable[str], known: Iterable[Any], field: str) -> None:
    declared = {row[0] for row in known}
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise RequestInvalid(f"{field} name {name!r} twice", param=field)
        if declared and name not in declared:
            raise RequestInvalid(
                f"{field} name {name!r}; the model has {', '.join(sorted(declared))}", param=field
            )
        seen.add(name)


def _check_declared(tensor: Tensor, datatype: str, shape: tuple[int, ...]) -> None:
    if tensor.datatype != datatype:
        raise _wrong(tensor, f"has the datatype {tensor.datatype}; the model takes {datatype}")
    fits = len(tensor.shape) == len(shape) and all(
        fixed in (size, -1) for size, fixed in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        raise _wrong(
            tensor, f"has the shape {tensor.shape}; the model takes {list(shape)} (-1: any)"
        )


def _check_data(tensor: Tensor, data: bytes) -> None:
    if data == NULL:
        raise _wrong(tensor, "has no data")
    if not data.startswith(b"["):
        raise _wrong(tensor, "has data that is not a list")
    if tensor.datatype == oip.BYTES:
        return _check_texts(tensor, data)
    letters = LETTERS.get(tensor.datatype, INTEGER)
    shown = data.translate(None, SPACE + letters)
    if shown.translate(None, BRACKETS):
        raise _wrong(tensor, f"has data that is not all of the datatype {tensor.datatype}")
    count = prod(tensor.shape)
    if count and b"[]" in data.translate(None, SPACE):
        raise _wrong(tensor, "has an empty list in its data")
    if not is_regular(shown, tensor.shape, count):
        raise _wrong(tensor, f"has data that is not of the shape {tensor.shape} ({count} values)")
    if tensor.datatype in LETTERS or not count:
        return None
    try:
        DECODE_INTEGERS[tensor.datatype](b"[%b]" % data.translate(None, SPACE + b"[]"))
    except msgspec.ValidationError as error:
        raise unfit(error, f"data of {tensor.name}") from None
    return None


def is_regular(shown: bytes, shape: list[int], count: int) -> bool:
    """Whether brackets and commas are those of the shape, or of one flat list.

    They are counted first, because a few bytes can state a shape that would fill the memory.
    """
    if 0 in shape:
        shape = shape[: shape.index(0) + 1]  # An empty list has no inner dimensions.
    return any(
        len(shown) == _brackets(nested) and shown == _written(nested) for nested in ([count], shape)
    )


def _brackets(shape: list[int]) -> int:
    """The number of brackets and commas in a nested list of this shape."""
    found = 0
    for size in reversed(shape):
        found = 2 + max(size - 1, 0) + size * found
    return found


def _written(shape: list[int]) -> bytes:
    written = b""
    for size in reversed(shape):
        written = b"[%b]" % b",".join([written] * size)
    return written


def _check_texts(tensor: Tensor, data: bytes) -> None:
    try:
        values = _decode_texts(data)
    except UNREADABLE as error:
        raise unfit(error, f"data of {tensor.name}") from None
    shape = tensor.shape
    nested = any(isinstance(value, list) for value in values)
    dimensions = shape if nested else [prod(shape)]
    if not _are_texts(values, dimensions):
        raise _wrong(tensor, f"has data that is not texts of the shape {shape}")


def _are_texts(values: Any, shape: list[int]) -> bool:
    if not shape:
        return isinstance(values, str)
    if not isinstance(values, list) or len(values) != shape[0]:
        return False
    return all(_are_texts(value, shape[1:]) for value in values)


def _check_binary(tensor: Tensor, raw: memoryview) -> None:
    count = prod(tensor.shape)
    width = WIDTHS.get(tensor.datatype)
    if width is not None:
        if len(raw) != count * width:
            raise _wrong(
                tensor, f"has {len(raw)} bytes; the shape {tensor.shape} has {count * width}"
            )
        return
    try:
        texts = oip.texts_in(bytes(raw))
    except oip.TensorsInvalid as error:
        raise _wrong(tensor, f"cannot be read: {error}") from None
    if texts != count:
        raise _wrong(tensor, f"has {texts} texts; the shape {tensor.shape} has {count}")


def _wrong(tensor: Tensor, what: str) -> RequestInvalid:
    return RequestInvalid(f"the tensor {tensor.name!r} {what}", param="inputs")


def _decoders() -> Iterator[tuple[str, Any]]:
    """By datatype of whole numbers: a decoder of lists of them that checks their bounds."""
    for name, dtype in oip.DTYPES.items():
        if np.dtype(dtype).kind not in "iu":
            continue
        bounds = np.iinfo(dtype)
        # The decoder itself takes at most 64 bits.
        meta = Meta() if bounds.bits == 64 else Meta(ge=int(bounds.min), le=int(bounds.max))
        yield name, msgspec.json.Decoder(list[Annotated[int, meta]]).decode


DECODE_INTEGERS = dict(_decoders())

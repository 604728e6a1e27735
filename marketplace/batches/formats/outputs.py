"""What a model answers for rows, as columns beside those of their file. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

from marketplace.batches.formats.rows import TEXTS, RowsInvalid, Table
from router.contracts.oip import DTYPES

WRITTEN_BY_JSON = "iuf"
"""Kinds of numbers whose shortest text is that of JSON."""

Column = tuple[str, int]
"""The name of an output, and how many columns it has."""


def output_columns(tensors: Mapping[str, Any]) -> list[Column]:
    """The outputs of a model of rows. Raises :class:`RowsInvalid` where they are none."""
    found = []
    for tensor in tensors.get("outputs") or ():
        shape = list(tensor["shape"])
        width = math.prod(shape[1:])
        if not shape or shape[0] != -1 or width < 1:
            said = f"The model's output {tensor['name']!r} is not made of rows."
            raise RowsInvalid("invalid_model", said)
        found.append((str(tensor["name"]), width))
    return found


def names_of(columns: Sequence[Column]) -> list[str]:
    """What the columns of outputs are called."""
    return [name if width == 1 else f"{name}[{i}]" for name, width in columns for i in range(width)]


def outputs_of(
    body: bytes, header_length: str | None, rows: int, columns: Sequence[Column], separator: str
) -> list[list[bytes]]:
    """The cells of each column in an answer. Raises ``ValueError`` or ``KeyError``."""
    at = int(header_length) if header_length else len(body)
    tables = {}
    for tensor in msgspec.json.decode(body[:at])["outputs"]:
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is None:
            flat: Any = np.array(tensor["data"], object)
        else:
            raw, at = body[at : at + size], at + size
            flat = _texts(raw) if tensor["datatype"] == TEXTS else _numbers(raw, tensor)
        tables[tensor["name"]] = flat
    return [
        _written(column, separator)
        for name, width in columns
        for column in tables[name].reshape(rows, width).T
    ]


def _written(column: Any, separator: str) -> list[bytes]:
    """Each value as the text of a cell."""
    if column.dtype.kind in WRITTEN_BY_JSON and np.isfinite(column).all():
        native = np.ascontiguousarray(column, column.dtype.newbyteorder("="))
        return orjson.dumps(native, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    return [_cell(text, separator).encode() for text in column.astype(str).tolist()]


def _numbers(raw: bytes, tensor: Mapping[str, Any]) -> Any:
    return np.frombuffer(raw, np.dtype(DTYPES[tensor["datatype"]]).newbyteorder("<"))


def _texts(raw: bytes) -> Any:
    """Each has its length before it."""
    found, at = [], 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        found.append(raw[at + 4 : at + 4 + size].decode(errors="replace"))
        at += 4 + size
    return np.array(found, object)


def appended(table: Table, text: bytes, columns: Sequence[Sequence[bytes]]) -> bytes:
    """The lines as they were, each with a cell of each of these columns at its end."""
    lines = text.split(b"\n")[:-1]
    if b"\r" in text:
        lines = [line.rstrip(b"\r") for line in lines]
    joined = map(table.separator.encode().join, zip(lines, *columns, strict=True))
    return b"\n".join(joined) + b"\n"


def header_of(table: Table, columns: Sequence[Column]) -> bytes:
    """The first line of an output: the names of the file's columns, and of the model's."""
    names = [_cell(name, table.separator).encode() for name in names_of(columns)]
    return appended(table, table.header + b"\n", [[name] for name in names])


def _cell(text: str, separator: str) -> str:
    if separator in text or '"' in text or "\n" in text or "\r" in text:
        # A row is a line here, so none may be within a cell.
        flat = text.replace('"', '""').replace("\r", " ").replace("\n", " ")
        return f'"{flat}"'
    return text

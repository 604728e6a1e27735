"""Row files: lines of a CSV file as rows of a model's tensors, many of them in one call. Pure."""

import array
import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from marketplace.batches.formats.blocks import NEWLINE
from router.contracts.oip import DTYPES

ROWS_MAX = 1_000_000
PIECE_ROWS = 256
"""Rows of a call, where nobody has measured what is best."""
PIECE_ROWS_MAX = 4_096
PIECE_ROWS_MIN = 16
LAST_SHARE = 8
"""The last calls have this many times fewer rows: smaller ones cost more than they even out."""
ROW_BYTES_MAX = 64 * 1024
COLUMNS_MAX = 1_024
SEPARATORS = ("\t", ";", ",")
TRUE, FALSE = frozenset({"1", "true"}), frozenset({"0", "false"})
TEXTS = "BYTES"
NUMBERS_AT_ONCE = 65_536
"""How many cells are Python's numbers at one time."""

_decode_numbers = msgspec.json.Decoder(list[float]).decode


class RowsInvalid(Exception):
    """What is wrong with a header or with rows; ``row`` is its place among those rows."""

    def __init__(self, code: str, message: str, row: int = 0) -> None:
        super().__init__(message)
        self.code, self.row = code, row


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor of the model, and the columns of the file that are its columns."""

    name: str
    datatype: str
    columns: tuple[int, ...]
    is_flat: bool


@dataclass(frozen=True, slots=True)
class Table:
    """How the lines of a file are read."""

    separator: str
    header: bytes
    inputs: tuple[Input, ...]
    cells: int

    def cells_of(self, line: bytes) -> list[str]:
        """The cells of a line. Raises :class:`RowsInvalid`."""
        try:
            text = line.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise RowsInvalid("invalid_row", f"This is not UTF-8: {error}.") from error
        cells = _split(text, self.separator)
        if len(cells) != self.cells:
            said = f"The header has {self.cells} columns, this row has {len(cells)}."
            raise RowsInvalid("invalid_row", said)
        return cells


def table_of(header: bytes, tensors: Mapping[str, Any], schema: Mapping[str, Any]) -> Table:
    """Whose columns these are, in any order and beside others. Raises :class:`RowsInvalid`."""
    try:
        text = header.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise RowsInvalid("invalid_header", f"The header is not UTF-8: {error}.") from error
    separator = next((separator for separator in SEPARATORS if separator in text), SEPARATORS[-1])
    names = [name.strip() for name in _split(text, separator)]
    if len(names) > COLUMNS_MAX or len(set(names)) < len(names):
        said = f"The header has up to {COLUMNS_MAX} names, none of them twice."
        raise RowsInvalid("invalid_header", said)
    inputs = []
    for tensor in tensors.get("inputs") or ():
        wanted = columns_of(tensor, schema)
        missing = [name for name in wanted if name not in names]
        if missing:
            said = f"The header must name the model's inputs; {', '.join(missing)} is not there."
            raise RowsInvalid("invalid_header", said)
        places = tuple(names.index(name) for name in wanted)
        is_flat = len(tensor["shape"]) == 1
        inputs.append(Input(tensor["name"], tensor["datatype"], places, is_flat))
    if not inputs:
        raise RowsInvalid("invalid_model", "The model has no tensors, so no rows either.")
    return Table(separator, text.encode(), tuple(inputs), len(names))


def columns_of(tensor: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """What the columns of an input are called, as in the playground. May raise."""
    name, shape = str(tensor["name"]), list(tensor["shape"])
    known = tensor["datatype"] in DTYPES or tensor["datatype"] == TEXTS
    width = shape[1] if len(shape) == 2 else 1
    if not known or not shape or shape[0] != -1 or len(shape) > 2 or width < 1:
        raise RowsInvalid("invalid_model", f"The model's input {name!r} is not made of rows.")
    described = (schema.get("properties") or {}).get(name) or {}
    items = described.get("items") if isinstance(described, Mapping) else None
    given = (items.get("prefixItems") or []) if isinstance(items, Mapping) else []
    # A schema may be just `true`.
    named = [value.get("title") if isinstance(value, Mapping) else None for value in given]
    titles = named if len(named) == width else [None] * width
    usual = [name] if width == 1 else [f"{name}[{i}]" for i in range(width)]
    return [str(title or other) for title, other in zip(titles, usual, strict=True)]


def rows_max(tensors: Mapping[str, Any], schema: Mapping[str, Any]) -> int:
    """How many rows a call may have by a model's input schema; 0 where it does not say."""
    properties = schema.get("properties") or {}
    described = [properties.get(tensor["name"]) for tensor in tensors.get("inputs") or ()]
    bounds = [item.get("maxItems") for item in described if isinstance(item, Mapping)]
    return min((bound for bound in bounds if isinstance(bound, int) and bound > 0), default=0)


def arrays_of(table: Table, text: bytes) -> list[Any]:
    """The tensors of these lines. Raises :class:`RowsInvalid` for the first that does not fit."""
    arrays = _floats(table, text)
    if arrays is not None:
        return arrays
    rows: list[list[str]] = []
    refused = None
    for line in text.split(b"\n")[:-1]:
        try:
            rows.append(table.cells_of(line))
        except RowsInvalid as error:
            refused = RowsInvalid(error.code, str(error), len(rows))
            break
    arrays = [array_of(tensor, rows) for tensor in table.inputs]
    if refused is not None:
        raise refused
    return arrays


def _floats(table: Table, text: bytes) -> list[Any] | None:
    """The same, fast, where all cells are plain numbers; None where some may not be."""
    dtypes = [np.dtype(DTYPES.get(tensor.datatype, "O")) for tensor in table.inputs]
    if any(dtype.kind != "f" for dtype in dtypes) or b'"' in text or not text.isascii():
        return None
    raw = np.frombuffer(text, np.uint8)
    places = np.flatnonzero((raw == ord(table.separator)) | (raw == NEWLINE))
    rows = text.count(b"\n")
    if len(places) != rows * table.cells:
        return None
    ends = places.reshape(rows, table.cells)
    if (raw[ends[:, -1]] != NEWLINE).any():
        return None
    columns = sorted({column for tensor in table.inputs for column in tensor.columns})
    values = _numbers_of(_only(raw, ends, columns), ends[:, -1] + 1, len(columns))
    if values is None:
        return None
    arrays = []
    for item, dtype in zip(table.inputs, dtypes, strict=True):
        with np.errstate(over="ignore"):
            found = values[:, [columns.index(column) for column in item.columns]].astype(
                dtype, order="C"
            )
        if not np.isfinite(found).all():
            return None
        arrays.append(found.reshape(-1) if item.is_flat else found)
    return arrays


def _only(raw: Any, ends: Any, columns: Sequence[int]) -> Any:
    """The text with a comma behind each cell of these columns, and spaces in place of others."""
    text = raw.copy()
    text[ends] = ord(",")
    others = [column for column in range(ends.shape[1]) if column not in set(columns)]
    if others:
        change = np.zeros(len(text) + 1, np.int8)
        starts = np.roll(ends, 1) + 1
        starts[0, 0] = 0
        for column in others:
            change[starts[:, column]] += 1
            change[ends[:, column] + 1] -= 1
        text[np.cumsum(change[:-1], dtype=np.int8).view(np.bool_)] = ord(" ")
    return text


def _numbers_of(text: Any, row_ends: Any, columns: int) -> Any | None:
    """Rows of so many numbers, each with a comma behind it; None where some are none."""
    rows = len(row_ends)
    values = np.empty((rows, columns))
    at_once = max(NUMBERS_AT_ONCE // columns, 1)
    start = 0
    for first in range(0, rows, at_once):
        last = min(first + at_once, rows)
        end = int(row_ends[last - 1])
        listed = text[start:end].tobytes().rstrip(b" ,")
        try:
            found = array.array("d", _decode_numbers(b"[" + listed + b"]"))
        except msgspec.DecodeError:
            return None
        if len(found) != (last - first) * columns:
            return None
        values[first:last] = np.frombuffer(found).reshape(-1, columns)
        start = end
    return values


def array_of(input_: Input, rows: Sequence[Sequence[str]]) -> Any:
    """The rows of one tensor. Raises :class:`RowsInvalid` for the first cell that does not fit."""
    cells = [[row[column].strip() for column in input_.columns] for row in rows]
    try:
        found = _parsed(input_.datatype, cells)
    except (ValueError, OverflowError):
        if len(rows) > 1:
            for number, row in enumerate(rows):
                try:
                    array_of(input_, [row])
                except RowsInvalid as error:
                    raise RowsInvalid(error.code, str(error), number) from error
        said = f"This is no row of {input_.datatype}: {', '.join(cells[0])[:100]!r}."
        raise RowsInvalid("invalid_row", said) from None
    return found.reshape(-1) if input_.is_flat else found


def _parsed(datatype: str, cells: list[list[str]]) -> Any:
    if datatype == TEXTS:
        return np.array(cells, object)
    if datatype == "BOOL":
        return np.array([[_truth(cell) for cell in row] for row in cells], np.bool_)
    dtype = np.dtype(DTYPES[datatype])
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # It is refused below.
            found = np.array(cells, np.float64).astype(dtype)
        if not np.isfinite(found).all():
            raise ValueError("not finite")
        return found
    bounds = np.iinfo(dtype)
    numbers = [[int(cell) for cell in row] for row in cells]
    if any(not bounds.min <= number <= bounds.max for row in numbers for number in row):
        raise OverflowError
    return np.array(numbers, dtype)


def _truth(cell: str) -> bool:
    if cell.lower() in TRUE:
        return True
    if cell.lower() in FALSE:
        return False
    raise ValueError(cell)


def row_bytes(table: Table) -> int:
    """Bytes of a row in :func:`packed` ones; 0 where texts make them unlike."""
    if any(tensor.datatype == TEXTS for tensor in table.inputs):
        return 0
    return sum(
        np.dtype(DTYPES[tensor.datatype]).itemsize * len(tensor.columns) for tensor in table.inputs
    )


def packed(arrays: Sequence[Any]) -> bytes:
    """The tensors of some rows, one row after the other."""
    rows = [
        np.ascontiguousarray(tensor.reshape(len(tensor), -1)).view(np.uint8) for tensor in arrays
    ]
    return np.concatenate(rows, axis=1).tobytes()


def unpacked(table: Table, raw: bytes) -> list[Any]:
    """The tensors again."""
    rows = np.frombuffer(raw, np.uint8).reshape(-1, row_bytes(table))
    arrays, at = [], 0
    for tensor in table.inputs:
        dtype = np.dtype(DTYPES[tensor.datatype])
        end = at + dtype.itemsize * len(tensor.columns)
        found = np.ascontiguousarray(rows[:, at:end]).view(dtype)
        arrays.append(found.reshape(-1) if tensor.is_flat else found)
        at = end
    return arrays


def body_of(table: Table, arrays: Sequence[Any]) -> tuple[bytes, dict[str, str]]:
    """An infer request with these rows and its headers: numbers in binary, texts as JSON."""
    inputs: list[dict[str, Any]] = []
    tail = []
    for item, values in zip(table.inputs, arrays, strict=True):
        tensor: dict[str, Any] = {
            "name": item.name,
            "datatype": item.datatype,
            "shape": list(values.shape),
        }
        if item.datatype == TEXTS:
            tensor["data"] = values.ravel().tolist()
        else:
            raw = values.tobytes()
            tensor["parameters"] = {"binary_data_size": len(raw)}
            tail.append(raw)
        inputs.append(tensor)
    head = msgspec.json.encode({"inputs": inputs, "parameters": {"binary_data_output": True}})
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return b"".join([head, *tail]), headers


def _split(text: str, separator: str) -> list[str]:
    if '"' not in text:
        return text.split(separator)
    try:
        return next(csv.reader([text], delimiter=separator, strict=True))
    except csv.Error as error:
        raise RowsInvalid("invalid_row", f"A row is one line; {error}.") from error


def pieces(rows: int, most: int, at_once: int) -> Iterator[tuple[int, int]]:
    """Number, from 1, and count of rows of each call.

    Guided self-scheduling (Polychronopoulos and Kuck, 1987): towards the end calls get smaller, so
    that all workers end together. The same for the same arguments: a piece that is sent again is
    the same request.
    """
    left, number = rows, 0
    least = min(max(PIECE_ROWS_MIN, most // LAST_SHARE), most)
    while left:
        number += 1
        count = min(left, most, max(math.ceil(left / (2 * at_once)), least))
        yield number, count
        left -= count

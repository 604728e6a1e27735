"""Row files: lines of a CSV file as rows of a model's tensors, many of them in one call. Pure."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from router.contracts.oip import DTYPES

ROWS_MAX = 1_000_000
PIECE_ROWS = 256
"""Rows of a call, where nobody has measured what is best."""
PIECE_ROWS_MAX = 4_096
PIECE_ROWS_MIN = 16
ROW_BYTES_MAX = 64 * 1024
COLUMNS_MAX = 1_024
SEPARATORS = ("\t", ";", ",")
TRUE, FALSE = frozenset({"1", "true"}), frozenset({"0", "false"})
TEXTS = "BYTES"


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
    separator = next((one for one in SEPARATORS if one in text), SEPARATORS[-1])
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
    titles = [one.get("title") for one in given] if len(given) == width else [None] * width
    usual = [name] if width == 1 else [f"{name}[{i}]" for i in range(width)]
    return [str(title or other) for title, other in zip(titles, usual, strict=True)]


def arrays_of(table: Table, lines: Sequence[bytes]) -> list[Any]:
    """The tensors of these lines. Raises :class:`RowsInvalid` for the first that does not fit."""
    arrays = _floats(table, lines)
    if arrays is not None:
        return arrays
    rows: list[list[str]] = []
    refused = None
    for line in lines:
        try:
            rows.append(table.cells_of(line))
        except RowsInvalid as error:
            refused = RowsInvalid(error.code, str(error), len(rows))
            break
    arrays = [array_of(one, rows) for one in table.inputs]
    if refused is not None:
        raise refused
    return arrays


def _floats(table: Table, lines: Sequence[bytes]) -> list[Any] | None:
    """The same, fast, where all cells are plain floats; None where some may not be."""
    dtypes = [np.dtype(DTYPES.get(one.datatype, "O")) for one in table.inputs]
    separators, separator = table.cells - 1, table.separator.encode()
    if any(dtype.kind != "f" for dtype in dtypes) or any(
        b'"' in line or line.count(separator) != separators for line in lines
    ):
        return None
    columns = [column for one in table.inputs for column in one.columns]
    try:
        cells = np.loadtxt(
            [line.decode() for line in lines],
            delimiter=table.separator,
            usecols=columns,
            comments=None,
            ndmin=2,
        )
    except ValueError:
        return None
    arrays, at = [], 0
    for one, dtype in zip(table.inputs, dtypes, strict=True):
        with np.errstate(over="ignore"):
            array = cells[:, at : at + len(one.columns)].astype(dtype)
        at += len(one.columns)
        if len(array) != len(lines) or not np.isfinite(array).all():
            return None
        arrays.append(array.reshape(-1) if one.is_flat else array)
    return arrays


def array_of(input_: Input, rows: Sequence[Sequence[str]]) -> Any:
    """The rows of one tensor. Raises :class:`RowsInvalid` for the first cell that does not fit."""
    cells = [[row[column].strip() for column in input_.columns] for row in rows]
    try:
        array = _parsed(input_.datatype, cells)
    except (ValueError, OverflowError):
        if len(rows) > 1:
            for number, row in enumerate(rows):
                try:
                    array_of(input_, [row])
                except RowsInvalid as error:
                    raise RowsInvalid(error.code, str(error), number) from error
        said = f"This is no row of {input_.datatype}: {', '.join(cells[0])[:100]!r}."
        raise RowsInvalid("invalid_row", said) from None
    return array.reshape(-1) if input_.is_flat else array


def _parsed(datatype: str, cells: list[list[str]]) -> Any:
    if datatype == TEXTS:
        return np.array(cells, object)
    if datatype == "BOOL":
        return np.array([[_truth(cell) for cell in row] for row in cells], np.bool_)
    dtype = np.dtype(DTYPES[datatype])
    if dtype.kind == "f":
        array = np.array(cells, np.float64).astype(dtype)
        if not np.isfinite(array).all():
            raise ValueError("not finite")
        return array
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


def body_of(table: Table, lines: Sequence[bytes]) -> tuple[bytes, dict[str, str]]:
    """An infer request with these rows and its headers: numbers in binary, texts as JSON."""
    arrays = arrays_of(table, lines)
    inputs: list[dict[str, Any]] = []
    tail = []
    for one, array in zip(table.inputs, arrays, strict=True):
        tensor: dict[str, Any] = {
            "name": one.name,
            "datatype": one.datatype,
            "shape": list(array.shape),
        }
        if one.datatype == TEXTS:
            tensor["data"] = array.ravel().tolist()
        else:
            raw = array.tobytes()
            tensor["parameters"] = {"binary_data_size": len(raw)}
            tail.append(raw)
        inputs.append(tensor)
    head = msgspec.json.encode({"inputs": inputs, "parameters": {"binary_data_output": True}})
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return b"".join([head, *tail]), headers


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
    body: bytes, header_length: str | None, rows: int, columns: Sequence[Column]
) -> list[list[str]]:
    """The cells of each row in an answer. Raises ``ValueError`` or ``KeyError``."""
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
    chosen = [tables[name].reshape(rows, width).astype(str) for name, width in columns]
    return np.concatenate(chosen, axis=1).tolist()


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


def appended(table: Table, lines: Sequence[bytes], cells: Sequence[Sequence[str]]) -> bytes:
    """The lines as they were, each with more cells at its end."""
    separator = table.separator
    return b"".join(
        line.rstrip(b"\r\n")
        + (separator + separator.join(_cell(one, separator) for one in more)).encode()
        + b"\n"
        for line, more in zip(lines, cells, strict=True)
    )


def _cell(text: str, separator: str) -> str:
    if separator in text or '"' in text or "\n" in text or "\r" in text:
        # A row is a line here, so none may be within a cell.
        flat = text.replace('"', '""').replace("\r", " ").replace("\n", " ")
        return f'"{flat}"'
    return text


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
    while left:
        number += 1
        count = min(left, most, max(math.ceil(left / (2 * at_once)), min(PIECE_ROWS_MIN, most)))
        yield number, count
        left -= count

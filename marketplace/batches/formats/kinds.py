"""The two kinds of files: lines that are calls, and rows of a table.

Each is checked before it begins, cut into the items that are sent, and joined to an output.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import IO, Any, Protocol

from django.core.files.storage import Storage

from marketplace.batches.formats.blocks import Block, Reader
from marketplace.batches.formats.capacity import piece_rows, window_of
from marketplace.batches.formats.lines import (
    ERRORS_SHOWN,
    Checked,
    LineError,
    LineInvalid,
    Models,
    line_read,
    model_of,
    numbered,
)
from marketplace.batches.formats.outputs import (
    Column,
    appended,
    header_of,
    output_columns,
    outputs_of,
)
from marketplace.batches.formats.results import Covered, Item, Result, answered, broken
from marketplace.batches.formats.rows import (
    ROW_BYTES_MAX,
    ROWS_MAX,
    RowsInvalid,
    Table,
    arrays_of,
    body_of,
    packed,
    pieces,
    row_bytes,
    table_of,
    unpacked,
)
from marketplace.batches.models import Batch, BatchKind
from marketplace.catalog.models import AIModel
from marketplace.inference.router_client import Answer

CHUNK_ROWS = 1_000
COPY_BYTES = 1024 * 1024
Tell = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Found:
    """What a check found: the lines or rows, or what is wrong."""

    total: int = 0
    errors: Sequence[LineError] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """The outputs that are kept of some items: which, and their object."""

    ranges: Sequence[Sequence[int]]
    output_as: str


class Format(Protocol):
    """A kind of file."""

    @property
    def suffix(self) -> str:
        """Of the output's name."""
        ...

    def check(self, file: IO[bytes], models: Models, tell: Tell, read: IO[bytes]) -> Found:
        """Read all of it; ``tell`` is called now and then. ``read`` is for :meth:`items`."""
        ...

    def items(self, file: IO[bytes], covered: Covered, read: IO[bytes]) -> Iterator[Item]:
        """What is to be sent, but for what is covered.

        ``read`` is what a check wrote there, or empty where another process has checked.
        """
        ...

    def output(self, file: IO[bytes], parts: Sequence[Part], storage: Storage) -> Iterator[bytes]:
        """The output file, in chunks."""
        ...


@dataclass(frozen=True, slots=True)
class Lines:
    """One call a line (JSONL)."""

    endpoint: str
    suffix: str = "jsonl"

    def check(self, file: IO[bytes], models: Models, tell: Tell, read: IO[bytes]) -> Found:
        checked = Checked(self.endpoint, models)
        for number, text in numbered(file):
            if not checked.add(number, text):
                break
            if number % CHUNK_ROWS == 0:
                tell()
        checked.end()
        return Found(checked.lines, checked.errors)

    def items(self, file: IO[bytes], covered: Covered, read: IO[bytes]) -> Iterator[Item]:
        for number, text in numbered(file):
            if number not in covered:
                yield line_read(number, text, self.endpoint)

    def output(self, file: IO[bytes], parts: Sequence[Part], storage: Storage) -> Iterator[bytes]:
        return contents([part.output_as for part in parts], storage)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a model's tensors (CSV), ``piece_rows`` to a call, fewer towards the end."""

    model: str
    tensors: Mapping[str, Any]
    schema: Mapping[str, Any]
    piece_rows: int
    at_once: int
    total: int = 0
    suffix: str = "csv"

    @property
    def _columns(self) -> list[Column]:
        return output_columns(self.tensors)

    def _table(self, lines: Reader) -> Table:
        """The first line as the header. Raises :class:`LineInvalid`."""
        header = lines.take(1)
        try:
            output_columns(self.tensors)
            return table_of(header.text, self.tensors, self.schema)
        except RowsInvalid as error:
            number = int(header.numbers[0]) if len(header) else 1
            raise LineInvalid(error.code, str(error), line=number) from error

    def check(self, file: IO[bytes], models: Models, tell: Tell, read: IO[bytes]) -> Found:
        errors: list[LineError] = []
        total = 0
        try:
            models.want(self.model)
            lines = Reader(file, ROW_BYTES_MAX)
            table = self._table(lines)
            while chunk := lines.take(CHUNK_ROWS):
                total += len(chunk)
                if total > ROWS_MAX:
                    raise LineInvalid("too_many_rows", f"A file may have {ROWS_MAX:,} rows.")
                errors += _errors_of(table, chunk, read)
                if len(errors) >= ERRORS_SHOWN:
                    break
                tell()
            if not total:
                raise LineInvalid("empty_file", "The file has no rows.")
        except LineInvalid as error:
            errors.append(LineError(error.code, str(error), error.line, error.param))
        return Found(total, errors[:ERRORS_SHOWN])

    def items(self, file: IO[bytes], covered: Covered, read: IO[bytes]) -> Iterator[Item]:
        read.seek(0)
        lines = Reader(file, ROW_BYTES_MAX)
        table, first, columns = self._table(lines), 1, self._columns
        for number, count in pieces(self.total, self.piece_rows, self.at_once):
            text = lines.take(count).text
            size = count * row_bytes(table)
            raw = read.read(size)
            if number not in covered:
                is_read = raw and len(raw) == size
                arrays = unpacked(table, raw) if is_read else arrays_of(table, text)
                body, headers = body_of(table, arrays)
                yield Piece(number, first, count, text, table, columns, body, headers)
            first += count

    def output(self, file: IO[bytes], parts: Sequence[Part], storage: Storage) -> Iterator[bytes]:
        """In the order of the rows: pieces end in any order, and within a part they are sorted."""
        table = self._table(Reader(file, ROW_BYTES_MAX))
        yield header_of(table, self._columns)
        where = {
            number: part
            for part in parts
            for first, last in part.ranges
            for number in range(first, last + 1)
        }
        lasts = {part.output_as: max(last for _, last in part.ranges) for part in parts}
        opened: dict[str, tuple[IO[bytes], Reader]] = {}
        with ExitStack() as stack:
            for number, count in pieces(self.total, self.piece_rows, self.at_once):
                part = where.get(number)
                if part is None:
                    continue
                if part.output_as not in opened:
                    content = stack.enter_context(storage.open(part.output_as))
                    opened[part.output_as] = content, Reader(content)
                yield opened[part.output_as][1].take(count).text
                if number == lasts[part.output_as]:
                    opened.pop(part.output_as)[0].close()


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows that are one call: those from ``first`` on, as lines of the file."""

    number: int
    first: int
    rows: int
    text: bytes
    table: Table
    columns: Sequence[Column]
    body: bytes
    headers: Mapping[str, str]

    @property
    def name(self) -> str:
        """Which rows it has, for its line in the error file."""
        return f"rows {self.first}-{self.first + self.rows - 1}"

    def answered(self, id_: str, answer: Answer) -> Result:
        """The rows with their outputs."""
        if answer.status != HTTPStatus.OK:
            request_id = answer.headers.get("x-request-id", "")
            said = answered(
                id_=id_,
                custom_id=self.name,
                status=answer.status,
                request_id=request_id,
                body=answer.body,
            )
            return replace(said, count=self.rows)
        length = answer.headers.get("Inference-Header-Content-Length")
        try:
            cells = outputs_of(answer.body, length, self.rows, self.columns, self.table.separator)
        except (ValueError, KeyError, TypeError) as error:
            return self.broken(id_, "invalid_answer", f"The answer had other outputs: {error}.")
        return Result(appended(self.table, self.text, cells), False, self.rows)

    def broken(self, id_: str, code: str, message: str) -> Result:
        """One line for all of its rows."""
        return replace(broken(id_, self.name, code, message), count=self.rows)


def _errors_of(table: Table, chunk: Block, read: IO[bytes]) -> list[LineError]:
    """What is wrong with some lines of a table; without errors, their tensors are written."""
    said = f"A row may have {ROW_BYTES_MAX:,} bytes."
    longer = [chunk.numbers[place] for place in chunk.longer(ROW_BYTES_MAX)]
    errors = [LineError("row_too_long", said, int(number)) for number in longer]
    left = chunk.up_to(ROW_BYTES_MAX) if longer else chunk
    while left and len(errors) < ERRORS_SHOWN:
        try:
            arrays = arrays_of(table, left.text)
            if row_bytes(table):
                read.write(packed(arrays))
            break
        except RowsInvalid as error:
            errors.append(LineError(error.code, str(error), int(left.numbers[error.row])))
            # The lines before it are good, or already reported.
            left = left.after(error.row)
    return sorted(errors, key=lambda error: error.line or 0)


def contents(names: Sequence[str], storage: Storage) -> Iterator[bytes]:
    """What these objects have, one after the other."""
    for name in names:
        with storage.open(name) as content:
            while chunk := content.read(COPY_BYTES):
                yield chunk


def format_of(batch: Batch) -> Format:
    """The kind of a batch's file."""
    if batch.kind == BatchKind.LINES:
        return Lines(batch.endpoint)
    model = _model(model_of(batch.endpoint))
    return Rows(
        model.name,
        model.tensors,
        model.input_schema,
        batch.piece_rows,
        batch.pieces_at_once,
        batch.total,
    )


def _model(name: str) -> AIModel:
    return AIModel.objects.filter(name=name).first() or AIModel(name=name)


def columns_for(batch: Batch, file: IO[bytes]) -> dict[str, Any]:
    """What is decided before a batch begins, and stays: its kind, and how its rows are cut.

    Only an object has calls for lines. The file is at its start, before and after.
    """
    _, text = next(numbered(file), (1, b""))
    file.seek(0)
    name = model_of(batch.endpoint)
    if not name or not text or text.lstrip().startswith((b"{", b"[")):
        return {"kind": BatchKind.LINES}
    return {
        "kind": BatchKind.ROWS,
        "piece_rows": piece_rows(_model(name)),
        "pieces_at_once": window_of(Batch(model_names=[name])),
    }

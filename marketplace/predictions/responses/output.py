"""An output as a page shows it: texts, tables, or JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from marketplace.predictions.calls.answers import AnswerBroken, StreamedAnswer, json_text
from marketplace.predictions.models import Event, PredictionEvent

ROWS_MAX = 50
COLUMNS_MAX = 8
JSON_CHARACTERS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Table:
    """A tensor: a row an example. ``left_out`` counts the rows that are not shown."""

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left_out: int


@dataclass(frozen=True, slots=True)
class Shown:
    """Of these what there is; ``text`` is the rest, as JSON."""

    texts: Sequence[str] = ()
    tables: Sequence[Table] = ()
    text: str = ""


def output_shown(output: Any) -> Shown:
    """How an output is shown, whatever model it is of."""
    if output is None:
        return Shown()
    if texts := _texts(output):
        return Shown(texts=texts)
    if isinstance(output, dict) and isinstance(output.get("data"), list):
        vectors = [row.get("embedding") for row in output["data"] if isinstance(row, dict)]
        if vectors and all(isinstance(vector, list) for vector in vectors):
            return Shown(tables=[_table("embedding", vectors)])
    if isinstance(output, dict) and output and all(isinstance(v, list) for v in output.values()):
        return Shown(tables=[_table(name, rows) for name, rows in output.items()])
    return Shown(text=as_text(output))


def as_text(value: Any) -> str:
    """JSON for people, as far as it is not too long."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text if len(text) <= JSON_CHARACTERS_MAX else text[:JSON_CHARACTERS_MAX] + "\n…"


def output_so_far(events: Iterable[PredictionEvent]) -> Any:
    """What has come since its last start; None where that is nothing yet."""
    streamed = StreamedAnswer()
    for event in events:
        if event.kind == Event.START:
            streamed = StreamedAnswer()
        elif event.kind == Event.OUTPUT:
            for line in event.text.split("\n"):
                try:
                    streamed.feed(f"data: {line}\n\n".encode())
                except AnswerBroken:
                    return None
    return json.loads(json_text(streamed.output))


def _texts(output: Any) -> list[str]:
    choices = output.get("choices") if isinstance(output, dict) else None
    texts = []
    for choice in choices if isinstance(choices, list) else ():
        message = choice.get("message") or {}
        text = message.get("content") or choice.get("text") or ""
        if calls := message.get("tool_calls"):
            text = f"{text}\n{as_text(calls)}".strip()
        texts.append(str(text))
    return texts


def _table(name: str, rows: Sequence[Any]) -> Table:
    shown = [row if isinstance(row, list) else [row] for row in rows[:ROWS_MAX]]
    width = max((len(row) for row in shown), default=0)
    head = [name] if width == 1 else [f"{name}[{n}]" for n in range(min(width, COLUMNS_MAX))]
    if width > COLUMNS_MAX:
        head[-1] = f"… ({width})"
    cells = [[_cell(value) for value in row[: len(head)]] for row in shown]
    if width > COLUMNS_MAX:
        cells = [[*row[:-1], "…"] for row in cells]
    return Table(name, head, cells, max(len(rows) - ROWS_MAX, 0))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) if not isinstance(value, list) else json.dumps(value)[:60]

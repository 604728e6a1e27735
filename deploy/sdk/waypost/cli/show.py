"""What people see: tables and progress. Progress goes to stderr, so that output can be piped."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from waypost.shapes import Batch

NANO_PER_USD = 1_000_000_000
PIPED_COLUMNS = 200
"""Of a table that is read by a program."""
output = Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS)
aside = Console(stderr=True)


def as_json(value: Any) -> None:
    """Print JSON, and nothing that a terminal would understand."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """A table; numbers to the right. ``empty`` is said where there are no rows."""
    filled = [["–" if cell is None or cell == "" else cell for cell in row] for row in rows]
    if not filled:
        aside.print(empty)
        return
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        numeric = all(isinstance(row[place], (int, float)) or row[place] == "–" for row in filled)
        drawn.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in filled:
        # Text, not markup: what others named must not style or hide anything.
        drawn.add_row(*(Text(_cell(cell)) for cell in row))
    output.print(drawn)


def facts(values: Mapping[str, Any]) -> None:
    """Names with their values, one a line; what is None is left out."""
    drawn = Table(box=None, pad_edge=False, show_header=False)
    drawn.add_column(style="bold")
    drawn.add_column(overflow="fold")
    for name, value in values.items():
        if value is not None and value != "":
            drawn.add_row(name, Text(_cell(value)))
    output.print(drawn)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1_000 else f"{value:,.0f}"
    return str(value)


def usd(nano: Any) -> str | None:
    """Dollars of nano-USD, with as many places as there are."""
    if not isinstance(nano, int):
        return None
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    whole, rest = divmod(nano, NANO_PER_USD)
    return f"{sign}${whole:,}.{f'{rest:09d}'.rstrip('0').ljust(2, '0')}"


# --- progress ---------------------------------------------------------------------------------


class _Pace(ProgressColumn):
    """Lines a second, and when the last one ends, as the service expects it."""

    def render(self, task: Task) -> Text:
        rate, expected_at = task.fields.get("rate", 0.0), task.fields.get("expected_at")
        words = [f"{rate:,.0f}/s"] if rate else []
        if expected_at:
            words.append(f"until {datetime.fromtimestamp(expected_at):%H:%M:%S}")  # noqa: DTZ006
        return Text(" ".join(words), style="cyan")


@contextmanager
def bytes_progress(words: str, total: int | None) -> Iterator[Any]:
    """Gives a function that is told the bytes so far."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=aside, transient=True) as progress:
        task = progress.add_task(words, total=total)
        yield lambda so_far: progress.update(task, completed=so_far)


@contextmanager
def batch_progress() -> Iterator[Any]:
    """Gives a function that is shown the batch as it goes on."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        _Pace(),
    )
    with Progress(*columns, console=aside) as progress:
        task = progress.add_task("batch", total=None, counts="", rate=0.0, expected_at=None)

        def show(batch: Batch) -> None:
            done = batch.completed + batch.failed
            failed = f", {batch.failed:,} failed" if batch.failed else ""
            progress.update(
                task,
                description=f"{batch.id} {batch.status}",
                completed=done,
                total=batch.total or None,
                counts=f"{done:,} of {batch.total:,}{failed}",
                rate=batch.lines_per_second,
                expected_at=None if batch.is_over else batch.expected_at,
            )

        yield show

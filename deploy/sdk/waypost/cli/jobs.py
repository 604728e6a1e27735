"""``predict``, ``predictions`` and ``batch``: what is not waited for, and its progress."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost.cli import show
from waypost.cli.app import Json, Limit, app, client
from waypost.cli.exits import INTERRUPTED, NOT_ALL_ANSWERED
from waypost.client import Client
from waypost.shapes import Batch, Prediction

ERRORS_SHOWN = 10
PredictionId = Annotated[str, typer.Argument(metavar="ID")]
BatchId = Annotated[str, typer.Argument(metavar="ID")]

predictions = typer.Typer(help="Predictions that were asked for.", no_args_is_help=True)
app.add_typer(predictions, name="predictions")
batch = typer.Typer(help="Files of calls or rows.", no_args_is_help=True)
app.add_typer(batch, name="batch")


@app.command()
def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model or a pipeline.")],
    given: Annotated[
        str, typer.Argument(metavar="INPUT", help="JSON, @FILE.json, or - for stdin.")
    ],
    wait: Annotated[bool, typer.Option(help="Wait for its end.")] = True,
    stream: Annotated[bool, typer.Option("--stream", help="Print the output as it comes.")] = False,
    version: Annotated[str, typer.Option(metavar="MODEL:VERSION")] = "",
    priority: Annotated[
        str | None, typer.Option(metavar="P", help="interactive, standard or batch.")
    ] = None,
    cancel_after: Annotated[
        str | None, typer.Option(metavar="TIME", help="Its deadline, like 30s or 5m.")
    ] = None,
    webhook: Annotated[str | None, typer.Option(metavar="URL")] = None,
    as_json: Json = False,
) -> None:
    """Ask for a prediction, and wait for it. Exit status 1 when it did not succeed."""
    value = _input(given)
    with client() as waypost:
        made = waypost.predictions.create(
            model,
            value,
            version=version,
            priority=priority,  # type: ignore[arg-type]  # The API checks it.
            cancel_after=cancel_after,
            webhook=webhook,
        )
        if not wait:
            _told(made, as_json)
            return
        try:
            if stream and not as_json:
                _streamed(waypost, made)
            with show.aside.status(f"{made.id}", spinner="dots"):
                made = waypost.predictions.wait(made.id)
        except KeyboardInterrupt:
            show.aside.print(f"\n{made.id} goes on: waypost predictions show {made.id}")
            raise typer.Exit(INTERRUPTED) from None
    _told(made, as_json, has_output=not stream)
    if made.status != "succeeded":
        raise typer.Exit(NOT_ALL_ANSWERED)


def _input(text: str) -> Any:
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text()
        return json.loads(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"INPUT is no JSON: {error}", param_hint="INPUT") from error


def _streamed(waypost: Client, made: Prediction) -> None:
    with waypost.predictions.stream(made.id) as events:
        for event in events:
            if event.kind == "output" and (text := event.text):
                sys.stdout.write(text)
                sys.stdout.flush()
            elif event.kind == "output" and "choices" not in event.data:
                show.as_json(event.data)
    sys.stdout.write("\n")


def _told(made: Prediction, as_json: bool, *, has_output: bool = True) -> None:
    if as_json:
        show.as_json(made.raw)
        return
    metrics = made.raw.get("metrics") or {}
    if has_output and made.output is not None:
        show.as_json(made.output)
    words = [made.id, made.status, made.error or ""]
    words.append(f"${made.cost_usd:.9f}".rstrip("0") if made.cost_usd else "")
    words.append(f"{metrics['predict_time']} s" if metrics.get("predict_time") else "")
    show.aside.print(" · ".join(filter(None, words)), style="dim", markup=False)


@predictions.command("list")
def predictions_list(limit: Limit = 20, as_json: Json = False) -> None:
    """The newest."""
    with client() as waypost:
        found = waypost.predictions.list(limit=limit)
    if as_json:
        show.as_json([one.raw for one in found])
        return
    rows = [
        (one.id, one.model, one.status, one.raw.get("created_at"), one.cost_usd) for one in found
    ]
    show.table(("prediction", "model", "status", "created", "$"), rows, empty="There are none.")


@predictions.command("show")
def predictions_show(prediction_id: PredictionId, as_json: Json = False) -> None:
    """One, with its output."""
    with client() as waypost:
        _told(waypost.predictions.get(prediction_id), as_json)


@predictions.command("cancel")
def predictions_cancel(prediction_id: PredictionId, as_json: Json = False) -> None:
    """End one. What it has done is billed."""
    with client() as waypost:
        _told(waypost.predictions.cancel(prediction_id), as_json)


# --- batches ----------------------------------------------------------------------------------


@batch.command("run")
def batch_run(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    model: Annotated[str, typer.Option(metavar="MODEL", help="Of the rows of a CSV file.")] = "",
    output: Annotated[
        Path | None, typer.Option(help="Where the output goes (FILE_output beside the file).")
    ] = None,
    completion_window: Annotated[str, typer.Option(help="Like 90m, 24h or 7d.")] = "24h",
    wait: Annotated[bool, typer.Option(help="Follow it to its end.")] = True,
    as_json: Json = False,
) -> None:
    """Upload a file of calls (JSONL) or rows (CSV), follow its batch, fetch the output.

    Exit status 1 when not all was answered.
    """
    with client() as waypost:
        with show.bytes_progress(f"upload {file.name}", file.stat().st_size) as on_bytes:
            try:
                made = waypost.batches.start(
                    file, model=model, completion_window=completion_window, on_bytes=on_bytes
                )
            except ValueError as error:
                raise typer.BadParameter(str(error), param_hint="--model") from error
        if not wait:
            _batch_told(made, as_json)
            return
        target = output or file.with_name(f"{file.stem}_output{file.suffix}")
        _followed(waypost, made.id, target, as_json)


@batch.command("follow")
def batch_follow(
    batch_id: BatchId,
    output: Annotated[Path | None, typer.Option(help="Fetch the output to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Follow one to its end. Exit status 1 when not all was answered."""
    with client() as waypost:
        _followed(waypost, batch_id, output, as_json)


@batch.command("list")
def batch_list(limit: Limit = 20, as_json: Json = False) -> None:
    """The newest."""
    with client() as waypost:
        found = waypost.batches.list(limit=limit)
    if as_json:
        show.as_json([one.raw for one in found])
        return
    rows = [
        (one.id, one.status, one.completed, one.failed, one.total, one.endpoint) for one in found
    ]
    columns = ("batch", "status", "completed", "failed", "total", "endpoint")
    show.table(columns, rows, empty="There are none.")


@batch.command("show")
def batch_show(batch_id: BatchId, as_json: Json = False) -> None:
    """One."""
    with client() as waypost:
        _batch_told(waypost.batches.get(batch_id), as_json)


@batch.command("cancel")
def batch_cancel(batch_id: BatchId, as_json: Json = False) -> None:
    """Send no more of one. What was answered is delivered and charged."""
    with client() as waypost:
        _batch_told(waypost.batches.cancel(batch_id), as_json)


@batch.command("fetch")
def batch_fetch(
    batch_id: BatchId,
    output: Annotated[Path, typer.Option(help="Where the output goes; errors go beside it.")],
) -> None:
    """Fetch the output of one that is over."""
    with client() as waypost:
        _fetch(waypost, waypost.batches.get(batch_id), output)


def _followed(waypost: Client, batch_id: str, target: Path | None, as_json: bool) -> None:
    try:
        with show.batch_progress() as progress, waypost.batches.follow(batch_id) as states:
            for last in states:
                progress(last)
    except KeyboardInterrupt:
        show.aside.print(f"\n{batch_id} goes on: waypost batch follow {batch_id}")
        raise typer.Exit(INTERRUPTED) from None
    if target is not None:
        _fetch(waypost, last, target, says=not as_json)
    _batch_told(last, as_json)
    if not last.is_all_answered:
        raise typer.Exit(NOT_ALL_ANSWERED)


def _fetch(waypost: Client, found: Batch, target: Path, *, says: bool = True) -> None:
    errors = target.with_name(f"{target.stem}_errors.jsonl")
    for file_id, path in ((found.output_file_id, target), (found.error_file_id, errors)):
        if file_id is None:
            continue
        with show.bytes_progress(f"download {path.name}", None) as on_bytes:
            size = waypost.files.download(file_id, path, on_bytes=on_bytes)
        if says:
            show.output.print(f"{path}  {size:,} bytes", markup=False, highlight=False)


def _batch_told(found: Batch, as_json: bool) -> None:
    if as_json:
        show.as_json(found.raw)
        return
    done = found.completed + found.failed
    failed = f", {found.failed:,} failed" if found.failed else ""
    show.aside.print(
        f"{found.id}  {found.status}  {done:,} of {found.total:,}{failed}",
        markup=False,
        highlight=False,
    )
    for error in found.errors[:ERRORS_SHOWN]:
        at = f"line {error['line']}: " if error.get("line") else ""
        show.aside.print(f"{at}{error.get('message')}", style="red", markup=False)

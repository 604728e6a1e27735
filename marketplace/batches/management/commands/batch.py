"""``manage.py batch run FILE``: a batch from the command line, over the public API."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.batches.client import Batch, BatchClient, BatchClientError
from marketplace.batches.models import BatchStatus

KEY_SETTING = "WAYPOST_KEY"
ERRORS_SHOWN = 10


class Command(BaseCommand):
    help = "Upload a file of calls (JSONL) or rows (CSV), follow its batch, fetch the output."
    requires_system_checks = ()
    _shown = ""

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        run = verbs.add_parser("run", help="and wait for the end")
        run.add_argument("file", type=Path)
        run.add_argument("--model", default="", help="of the rows of a CSV file")
        run.add_argument("--key", default="", help=f"API key (${KEY_SETTING})")
        run.add_argument("--router", default="", metavar="URL", help="base URL of the router")
        run.add_argument("--output", type=Path, help="where the output goes (FILE_output)")
        run.add_argument("--completion-window", default="24h", help="like 90m, 24h, 7d")

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        key = options["key"] or os.environ.get(KEY_SETTING, "")
        if not key:
            raise CommandError(f"give an API key, as --key or in {KEY_SETTING}")
        if not file.is_file():
            raise CommandError(f"there is no file {file}")
        url = options["router"] or settings.WAYPOST_ROUTER_URL
        with closing(BatchClient(url, key)) as client:
            try:
                batch = client.begin(
                    file,
                    model=options["model"],
                    completion_window=options["completion_window"],
                )
                batch = client.follow(batch, self._show)
                self._fetch(client, batch, file, options["output"])
            except BatchClientError as error:
                raise CommandError(str(error)) from error
        if batch["status"] != BatchStatus.COMPLETED or batch["request_counts"]["failed"]:
            raise CommandError(f"{batch['id']} is {batch['status']}, and not all was answered")

    def _fetch(self, client: BatchClient, batch: Batch, file: Path, output: Path | None) -> None:
        output = output or file.with_name(f"{file.stem}_output{file.suffix}")
        errors = output.with_name(f"{output.stem}_errors.jsonl")
        for kind, path in (("output", output), ("error", errors)):
            if batch[f"{kind}_file_id"]:
                size = client.fetch(batch[f"{kind}_file_id"], path)
                self.stdout.write(f"{path}  {size:,} bytes")
        for error in (batch["errors"] or {"data": []})["data"][:ERRORS_SHOWN]:
            self.stderr.write(f"line {error['line'] or '–'}: {error['message']}")

    def _show(self, batch: Batch) -> None:
        line = line_of(batch)
        if line != self._shown:
            self.stderr.write(line)
        self._shown = line


def line_of(batch: Batch) -> str:
    """How far it is."""
    counts = batch["request_counts"]
    done = counts["completed"] + counts["failed"]
    words = [batch["id"], batch["status"], f"{done:,} of {counts['total']:,}"]
    if batch["lines_per_second"]:
        words.append(f"{batch['lines_per_second']:,.0f} a second")
    if counts["failed"]:
        words.append(f"{counts['failed']:,} failed")
    return "  ".join(words)

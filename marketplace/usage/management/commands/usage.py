"""``manage.py usage``: the care of recorded calls, and an emulated history to try it on."""

import time
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.usage.generating import (
    Size,
    has_people,
    history_generate,
    history_vacuum,
    is_generated,
)
from marketplace.usage.partitions import partitions_detach
from marketplace.usage.services import rollups_rebuild

REPORT_EVERY_S = 10.0


class Command(BaseCommand):
    help = "Detach old months of calls, rebuild rollups, or generate an emulated history."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        detach = verbs.add_parser("detach", help="take months that ended out of usage_event")
        detach.add_argument("--before", required=True, metavar="YYYY-MM", help="the first to stay")
        rebuild = verbs.add_parser("rebuild", help="make rollups anew from the calls")
        rebuild.add_argument("--from", required=True, dest="start", metavar="YYYY-MM-DD")
        rebuild.add_argument("--until", required=True, metavar="YYYY-MM-DD", help="excluded")
        generate = verbs.add_parser("generate", help="emulate a history of calls")
        generate.add_argument("--rows", type=int, default=1_000_000)
        generate.add_argument("--models", type=int, default=2_000)
        generate.add_argument("--providers", type=int, default=200)
        generate.add_argument("--days", type=int, default=90)
        generate.add_argument("--yes", action="store_true", help="even where people have accounts")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, options["verb"])(options)

    def detach(self, options: dict[str, Any]) -> None:
        tables = partitions_detach(before=_time(options["before"], "%Y-%m"))
        self.stdout.write("\n".join(tables) or "Nothing ended before that.")

    def rebuild(self, options: dict[str, Any]) -> None:
        start, until = (_time(options[name], "%Y-%m-%d") for name in ("start", "until"))
        try:
            counted = rollups_rebuild(start, until)
        except ValueError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Rolled up {counted:,} calls.")

    def generate(self, options: dict[str, Any]) -> None:
        if has_people() and not options["yes"]:
            raise CommandError("people have accounts in this database; add --yes if that is meant")
        if is_generated():
            raise CommandError("this database has a generated history already")
        begun, said = time.monotonic(), 0.0
        size = Size(*(options[name] for name in ("rows", "models", "providers", "days")))

        def progress(made: int) -> None:
            nonlocal said
            if (elapsed_s := time.monotonic() - begun) > said + REPORT_EVERY_S:
                said = elapsed_s
                self.stdout.write(f"{made:,} calls after {elapsed_s:.0f} s")

        history_generate(size=size, progress=progress)
        history_vacuum()
        self.stdout.write(f"{size.rows:,} calls in {time.monotonic() - begun:.0f} s")


def _time(text: str, layout: str) -> datetime:
    try:
        return datetime.strptime(text, layout).replace(tzinfo=UTC)
    except ValueError as error:
        raise CommandError(f"{text!r} does not look like {layout}") from error

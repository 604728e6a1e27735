"""``manage.py usage``: maintenance of recorded calls."""

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.usage.partitions import partitions_detach
from marketplace.usage.services import rollups_rebuild


class Command(BaseCommand):
    help = "Detach old months of calls, or rebuild rollups."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        detach = verbs.add_parser("detach", help="take months that ended out of usage_event")
        detach.add_argument("--before", required=True, metavar="YYYY-MM", help="the first to stay")
        rebuild = verbs.add_parser("rebuild", help="make rollups anew from the calls")
        rebuild.add_argument("--from", required=True, dest="start", metavar="YYYY-MM-DD")
        rebuild.add_argument("--until", required=True, metavar="YYYY-MM-DD", help="excluded")

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


def _time(text: str, layout: str) -> datetime:
    try:
        return datetime.strptime(text, layout).replace(tzinfo=UTC)
    except ValueError as error:
        raise CommandError(f"{text!r} does not look like {layout}") from error

"""``manage.py audit``: the retention of the audit log."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.audit.services import entries_prune


class Command(BaseCommand):
    help = "Delete old entries of the audit log."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        prune = verbs.add_parser("prune", help="delete entries older than so many days")
        prune.add_argument("--days", type=int, required=True, metavar="N", help="366 or more")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            deleted = entries_prune(days=options["days"])
        except ValueError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Deleted {deleted:,} entries.")

"""``manage.py invoices issue --period 2026-10``: what the periodic task does, on demand."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.services import statements_issue


class Command(BaseCommand):
    help = "Issue the invoices and payout statements that a month still lacks."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        issue = verbs.add_parser("issue", help="issue them and print their numbers")
        issue.add_argument("--period", required=True, help="a month that is over, as 2026-10")

    def handle(self, *args: Any, period: str, **options: Any) -> None:
        try:
            month = Month.parse(period)
            issued = statements_issue(month=month)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        except ValueError as error:
            raise CommandError(str(error)) from error
        for statement in issued:
            self.stdout.write(f"{statement.number}  {statement.holder}")
        if not issued:
            self.stdout.write(f"Nothing to issue: {month} has all of its statements.")

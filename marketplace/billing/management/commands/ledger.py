"""``manage.py ledger verify``: prove the books from the transfers alone."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.billing.selectors import ledger_proof


class Command(BaseCommand):
    help = "Prove the ledger: balances from transfers alone, holds from leases, calls from both."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("verify", help="exit 1 and say what when anything does not add up")

    def handle(self, *args: Any, **options: Any) -> None:
        proof = ledger_proof()
        for gap in proof.gaps:
            self.stderr.write(gap)
        if proof.gaps:
            raise CommandError(f"the ledger has {len(proof.gaps)} gaps", returncode=1)
        self.stdout.write(
            f"The ledger balances: {proof.transfers} transfers over {proof.accounts} accounts."
        )

"""``manage.py catalog generate``: a large emulated catalog to try pages on."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.accounts.models import User
from marketplace.catalog.generating import PREFIX, catalog_generate, is_catalog_generated


class Command(BaseCommand):
    help = "Generate an emulated catalog of many models and providers."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        generate = verbs.add_parser("generate", help="emulate a catalog")
        generate.add_argument("--models", type=int, default=2_000)
        generate.add_argument("--providers", type=int, default=200)
        generate.add_argument("--yes", action="store_true", help="even where people have accounts")

    def handle(self, *args: Any, **options: Any) -> None:
        models, providers = options["models"], options["providers"]
        if min(models, providers) < 1:
            raise CommandError("--models and --providers must be 1 or more")
        people = User.objects.exclude(email__endswith=f"@{PREFIX}.invalid")
        if people.exists() and not options["yes"]:
            raise CommandError("people have accounts in this database; add --yes if that is meant")
        if is_catalog_generated():
            raise CommandError("this database has a generated catalog already")
        catalog_generate(models=models, providers=providers)
        self.stdout.write(f"{models:,} models of {providers:,} providers")

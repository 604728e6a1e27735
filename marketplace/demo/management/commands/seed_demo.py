"""``manage.py seed_demo [--fleet FILE]``: the demo, brought up to date; quick, safe to repeat."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.demo.fleet import FleetInvalid, fleet_read
from marketplace.demo.services import demo_credentials, demo_seed


class Command(BaseCommand):
    help = "Seed the demo organisation and catalog, and bring the workers in line with a fleet."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--fleet", type=Path, help="the launcher's fleet file (JSON)")

    def handle(self, *args: Any, fleet: Path | None, **options: Any) -> None:
        credentials_path = settings.WAYPOST_HOME / "demo.json"
        try:
            workers = fleet_read(fleet) if fleet else None
        except FleetInvalid as error:
            raise CommandError(str(error)) from error
        demo_seed(fleet=workers, credentials=demo_credentials(credentials_path))
        self.stdout.write(f"The demo is ready; its login and key are in {credentials_path}")

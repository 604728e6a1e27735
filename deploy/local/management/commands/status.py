"""`manage.py status`: what runs, since when, healthy or not."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from deploy.local.home import state
from deploy.local.home.environment import default_home
from deploy.local.terminal.report import as_json, as_table


class Command(BaseCommand):
    help = "Show what runs; exit status 0 only when all of it is healthy."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--home", type=Path, default=default_home(), help="state folder (.waypost)"
        )
        parser.add_argument("--json", action="store_true", help="for scripts")

    def handle(self, *args: Any, **given: Any) -> None:
        home = given["home"].resolve()
        found = state.load(home)
        if given["json"]:
            self.stdout.write(json.dumps(as_json(home, found), indent=2))
        else:
            self.stdout.write(as_table(home, found))
        if found is None or not found.is_healthy:
            sys.exit(1)

"""`manage.py down`: stop what `manage.py up` started, and nothing else."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from deploy.local.home.environment import default_home
from deploy.local.launching import detached
from deploy.local.launching.launch import LaunchError


class Command(BaseCommand):
    help = "Stop the stack that runs in a state folder; its data stays."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--home", type=Path, default=default_home(), help="state folder (.waypost)"
        )

    def handle(self, *args: Any, **given: Any) -> None:
        home = given["home"].resolve()
        try:
            stopped = detached.stop(home)
        except LaunchError as error:
            raise CommandError(str(error)) from error
        self.stdout.write("Stopped." if stopped else f"Nothing runs in {home}.")

"""`manage.py up`: run everything on this machine."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from deploy.local.home.environment import default_home
from deploy.local.launching import detached, launch
from deploy.local.launching.launch import LaunchError
from deploy.local.services.stack import ROUTERS_MAX, Options
from deploy.local.terminal.banner import banner
from deploy.local.terminal.progress import Progress, unheard


class Command(BaseCommand):
    help = "Run the whole of Waypost on this machine; Ctrl-C stops it."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--detach", action="store_true", help="return once everything is healthy"
        )
        parser.add_argument("--port", type=int, default=8000, help="of the pages (8000)")
        parser.add_argument("--router-port", type=int, default=8080, help="of the router (8080)")
        parser.add_argument(
            "--router-grpc-port", type=int, help="of the router's gRPC (the router's + 1)"
        )
        parser.add_argument(
            "--routers",
            type=int,
            choices=range(1, ROUTERS_MAX + 1),
            metavar="N",
            default=1,
            help="how many share its port, one for each processor to be used (1)",
        )
        parser.add_argument(
            "--home", type=Path, default=default_home(), help="state folder (.waypost)"
        )
        parser.add_argument(
            "--no-emulated", action="store_true", help="leave out the emulated models and fleet"
        )

    def handle(self, *args: Any, **given: Any) -> None:
        options = Options(
            home=given["home"].resolve(),
            web_port=given["port"],
            router_port=given["router_port"],
            router_grpc_port=given["router_grpc_port"] or given["router_port"] + 1,
            routers=given["routers"],
            emulated=not given["no_emulated"],
            database_url=os.environ.get("DATABASE_URL") or None,
            owner_url=os.environ.get("MIGRATE_DATABASE_URL") or None,
            broker_url=os.environ.get("BROKER_URL") or None,
        )
        # Django's own wrapper ends every piece of output with a line break.
        progress = Progress(sys.stdout)

        def say(text: str) -> None:
            with unheard():
                self.stdout.write(text)
                self.stdout.flush()  # Also into a pipe or a file, without delay.

        def announce() -> None:
            progress.settle()
            say(banner(options, detached=False))

        try:
            if given["detach"]:
                detached.start(options, show=progress.show)
                self.stdout.write(banner(options, detached=True))
            else:
                launch.run(
                    options,
                    show=progress.show,
                    on_running=announce,
                    on_stopping=lambda: say("Stopping…"),
                )
                say("Stopped.")
        except LaunchError as error:
            raise CommandError(str(error)) from error

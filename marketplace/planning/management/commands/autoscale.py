"""``manage.py autoscale``: starts and ends a pool's workers on this machine, by its load."""

import logging
import shlex
import signal
import threading
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from marketplace.catalog.models import Pool
from marketplace.planning.scaling.local import DRAIN_S, LocalScaler
from marketplace.planning.scaling.selectors import scales_now
from marketplace.planning.scaling.steadier import Steadier

DRAIN_S_MAX = 86_400.0
"""No agent takes more."""

log = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Start and end workers of a pool on this machine, as its queue and its SLO want."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--pool", required=True)
        parser.add_argument(
            "--agent", required=True, help="words of each agent: its engine and its command"
        )
        parser.add_argument("--first-port", type=int, default=21_000, help="of the servers")
        parser.add_argument("--interval", type=float, default=2.0, help="seconds between looks")
        parser.add_argument(
            "--down-after", type=float, default=60.0, help="seconds that fewer must be enough"
        )
        parser.add_argument(
            "--drain", type=float, default=DRAIN_S, help="seconds that calls may take to end"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        pool = Pool.objects.filter(name=options["pool"]).first()
        if pool is None:
            raise CommandError(f"no pool is called {options['pool']!r}")
        if not 0 <= options["drain"] <= DRAIN_S_MAX:
            raise CommandError(f"--drain must be 0 to {DRAIN_S_MAX:g} seconds")
        scaler = LocalScaler(
            pool=pool,
            words=shlex.split(options["agent"]),
            folder=Path(settings.WAYPOST_HOME) / "agents",
            first_port=options["first_port"],
            steadier=Steadier(options["down_after"]),
            drain_s=options["drain"],
        )
        over = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: over.set())
        try:
            while not over.wait(options["interval"]):
                self._round(scaler)
        finally:
            scaler.close()

    def _round(self, scaler: LocalScaler) -> None:
        try:
            found = [scale for scale in scales_now() if scale.pool == scaler.pool.name]
            before = len(scaler.running)
            now = scaler.round(found[0]) if found else before
        except DatabaseError as error:
            log.warning("nothing changes while the database is away: %s", error)
            return
        if now != before:
            self.stdout.write(f"{scaler.pool.name}: {now} agents, desired {found[0].desired}")
            self.stdout.flush()

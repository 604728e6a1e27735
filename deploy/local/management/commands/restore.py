"""`manage.py restore`: a backup's database and files in place of what is there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from deploy.local import ROOT
from deploy.local.home import secrets
from deploy.local.home.environment import default_home
from deploy.local.home.secrets import OWNER_URL
from deploy.local.launching.embedded import database_alone
from deploy.local.launching.launch import LaunchError
from deploy.local.services.postgres import PostgresError
from marketplace.operations.backups.archive import (
    BackupError,
    Manifest,
    backup_restore,
    manifest_read,
)

PEPPER = "WAYPOST_KEY_PEPPER"


class Command(BaseCommand):
    help = "Put a backup in place of the database and customers' files, and prove the ledger."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="what manage.py backup made")
        parser.add_argument(
            "--home", type=Path, default=default_home(), help="state folder (.waypost)"
        )
        parser.add_argument("--yes", action="store_true", help="what is there now may be lost")

    def handle(self, *args: Any, **given: Any) -> None:
        if not given["yes"]:
            raise CommandError("this replaces the database: add --yes once that is meant")
        home, folder = given["home"].resolve(), given["folder"].resolve()
        try:
            # Before anything is made or started.
            manifest = manifest_read(folder)
            _require_pepper(home)
            with contextlib.ExitStack() as opened:
                urls = _urls_of_environment()
                if urls is None:
                    server = opened.enter_context(database_alone(home))
                    urls = {"DATABASE_URL": server.url, OWNER_URL: server.owner_url}
                files = None if os.environ.get("WAYPOST_FILES_BUCKET") else home / "files"
                environment = {**secrets.load_or_make(home, os.environ), **urls}
                backup_restore(folder=folder, database_url=urls[OWNER_URL], files=files)
                self._prove(manifest, environment, home)
        except (BackupError, LaunchError, PostgresError, OSError) as error:
            raise CommandError(str(error)) from error

    def _prove(self, manifest: Manifest, environment: dict[str, str], home: Path) -> None:
        """By processes of their own: this one has no settings for the database."""
        known = {**os.environ, **environment, "WAYPOST_HOME": str(home)}
        # Tables of the backup's version become this version's, and roles have their rights.
        for words in (
            ("migrate", "--no-input", "--verbosity", "0"),
            ("ledger", "verify", "--from-beginning", "--routers-stopped"),
        ):
            command = [sys.executable, str(ROOT / "manage.py"), *words]
            if subprocess.run(command, env=known, check=False).returncode != 0:
                raise CommandError(
                    f"the database and the files are the backup's, but manage.py "
                    f"{' '.join(words)} failed: start nothing, and restore again once that is "
                    "mended"
                )
        self.stdout.write(
            f"This is {manifest.made_at:%Y-%m-%d %H:%M} UTC. Start the routers that were "
            "there, each with its journal: they settle what came later."
        )


def _require_pepper(home: Path) -> None:
    """A new one would be made silently, and every API key of the backup be dead."""
    if not (home / secrets.FILE).exists() and PEPPER not in os.environ:
        raise BackupError(
            f"{home / secrets.FILE} is not there: put it back first, or set {PEPPER}: without "
            "it no API key works any more"
        )


def _urls_of_environment() -> dict[str, str] | None:
    """Of one's own PostgreSQL; None where the embedded one is meant."""
    url = os.environ.get("DATABASE_URL")
    return {"DATABASE_URL": url, OWNER_URL: os.environ.get(OWNER_URL) or url} if url else None

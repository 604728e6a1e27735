"""`manage.py backup`: the database and customers' files, into a folder."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from marketplace.operations.backups.archive import BackupError, backup_make
from marketplace.operations.models import Backup


class Command(BaseCommand):
    help = "Back up the database and customers' files, while everything runs."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("into", type=Path, help="folder that gets a new one; better elsewhere")

    def handle(self, *args: Any, **given: Any) -> None:
        url = os.environ.get("MIGRATE_DATABASE_URL") or os.environ.get("DATABASE_URL")
        if not url:
            raise CommandError("DATABASE_URL is not set, and no stack runs in this state folder")
        files = None if settings.WAYPOST_FILES_BUCKET else settings.WAYPOST_HOME / "files"
        try:
            folder, manifest = backup_make(
                database_url=url, files=files, into=given["into"].resolve()
            )
        except (BackupError, OSError) as error:
            raise CommandError(str(error)) from error
        Backup.objects.create(made_at=manifest.made_at, place=str(folder))
        kept = "files in the bucket" if manifest.files is None else f"{manifest.files} files"
        self.stdout.write(f"{folder}: {manifest.dump_bytes / 1e6:.1f} MB of database, {kept}.")

"""Keeping files, within an organisation's quota, and letting them go."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.core.files.base import File as Content
from django.core.files.storage import Storage, storages
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.models import Organisation, User
from marketplace.batches.models import STATUSES_OPEN, Batch, File, Purpose, file_id
from marketplace.catalog.prices import number_text
from marketplace.shared.sweeping import swept

FILE_BYTES_MAX = 200_000_000
EXPIRED_AT_ONCE = 500
STRAY_AFTER = timedelta(days=1)
"""Until then bytes without a file may be those of one that is being added."""
MB = 1_000_000


class FileRefused(ValueError):
    """The message is for people; ``code`` names the rule."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class FileInUse(Exception):
    """An open batch still reads it."""


def files_storage() -> Storage:
    """Where the bytes are: a folder, or a bucket."""
    return storages["files"]


def files_bytes(organisation: Organisation) -> int:
    """How much of its quota an organisation uses."""
    rows = File.objects.filter(organisation=organisation)
    return int(rows.aggregate(all=Sum("size_bytes"))["all"] or 0)


def file_upload(
    *, organisation: Organisation, content: Content[Any], filename: str, created_by: User | None
) -> File:
    """Keep an input of batches. Raises :class:`FileRefused`."""
    size = content.size
    if not size:
        raise FileRefused("empty_file", _("The file is empty."))
    if size > FILE_BYTES_MAX:
        raise FileRefused(
            "file_too_large",
            _("The file has %(size)s bytes; the limit is %(most)s MB: split it.")
            % {"size": number_text(size, 0), "most": FILE_BYTES_MAX // MB},
        )
    _check_quota(organisation, size)
    stored = bytes_store(organisation=organisation, content=content)
    try:
        with transaction.atomic():
            # One at a time: each counts those that came while its bytes were written.
            Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)
            _check_quota(organisation, size)
            return file_add(
                stored,
                organisation=organisation,
                filename=filename,
                purpose=Purpose.BATCH,
                created_by=created_by,
            )
    except FileRefused:
        files_storage().delete(stored.stored_as)
        raise


def _check_quota(organisation: Organisation, size: int) -> None:
    most = settings.WAYPOST_FILES_BYTES_MAX
    if files_bytes(organisation) + size > most:
        raise FileRefused(
            "files_quota_exceeded",
            _("The organisation's files may have %(most)s MB together: delete some first.")
            % {"most": number_text(most // MB, 0)},
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes that are in the storage, and no file yet."""

    public_id: str
    stored_as: str
    size_bytes: int


def bytes_store(*, organisation: Organisation, content: Content[Any]) -> Stored:
    """Write them under the id of a new file."""
    public_id, size_bytes = file_id(), content.size
    stored_as = files_storage().save(f"{organisation.pk}/{public_id}", content)
    return Stored(public_id, stored_as, size_bytes)


def file_add(
    stored: Stored,
    *,
    organisation: Organisation,
    filename: str,
    purpose: Purpose,
    created_by: User | None = None,
) -> File:
    """The file whose bytes these are."""
    return File.objects.create(
        public_id=stored.public_id,
        organisation=organisation,
        purpose=purpose,
        filename=filename[: File._meta.get_field("filename").max_length],
        size_bytes=stored.size_bytes,
        stored_as=stored.stored_as,
        created_by=created_by,
        expires_at=timezone.now() + timedelta(days=settings.WAYPOST_FILES_DAYS),
    )


@transaction.atomic
def file_delete(*, file: File) -> None:
    """Forget it; its bytes go once that is committed. Raises :class:`FileInUse`."""
    row = File.objects.select_for_update().filter(pk=file.pk).first()
    if row is None:
        return
    if Batch.objects.filter(input_file=row, status__in=STATUSES_OPEN).exists():
        raise FileInUse(row.public_id)
    row.delete()
    transaction.on_commit(partial(files_storage().delete, row.stored_as))


def files_expire() -> int:
    """Delete what has expired, but for what an open batch reads; returns how many went."""
    in_use = Batch.objects.filter(status__in=STATUSES_OPEN).values("input_file")
    expired = File.objects.filter(expires_at__lte=timezone.now()).exclude(public_id__in=in_use)

    def some() -> int:
        gone = 0
        for row in expired.order_by("expires_at")[:EXPIRED_AT_ONCE]:
            with suppress(FileInUse):
                file_delete(file=row)
                gone += 1
        return gone

    return swept(some)


def strays_clear() -> int:
    """Delete bytes that no file has, as whoever wrote or forgot it died; returns how many went."""
    storage, before = files_storage(), timezone.now() - STRAY_AFTER
    gone = 0
    for folder in _folders(storage):
        rows = File.objects.filter(organisation=int(folder))
        known = set(rows.values_list("stored_as", flat=True))
        for name in storage.listdir(folder)[1]:
            path = f"{folder}/{name}"
            # It may go by itself meanwhile.
            with suppress(FileNotFoundError):
                if path not in known and storage.get_modified_time(path) < before:
                    storage.delete(path)
                    gone += 1
    return gone


def _folders(storage: Storage) -> list[str]:
    """Those of organisations, by their ids."""
    try:
        return [name for name in storage.listdir("")[0] if name.isdecimal()]
    except FileNotFoundError:
        return []

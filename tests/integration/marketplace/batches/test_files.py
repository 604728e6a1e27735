"""Files are within the quota, whoever uploads at once, and bytes without a file do not stay."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone

from marketplace.accounts.models import Organisation
from marketplace.batches.files import services
from marketplace.batches.files.services import (
    STRAY_AFTER,
    FileRefused,
    bytes_store,
    files_storage,
)
from marketplace.batches.models import File
from marketplace.batches.tasks import clear_strays, expire_files
from tests.integration.marketplace.batches.desk import chat_lines, uploaded
from tests.integration.marketplace.locks import meanwhile
from tests.integration.marketplace.shop import Shop

CONTENT = chat_lines(3)


def kept(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_two_uploads_at_once_do_not_pass_the_quota_together(
    committed_shop: Shop, files_folder: Path, settings: Any
) -> None:
    settings.WAYPOST_FILES_BYTES_MAX = 2 * len(CONTENT) - 1

    def late() -> str:
        with pytest.raises(FileRefused) as refused:
            uploaded(committed_shop, CONTENT)
        return refused.value.code

    own = Organisation.objects.filter(pk=committed_shop.organisation.pk)
    with meanwhile(late, locked=own) as codes:
        first = uploaded(committed_shop, CONTENT)
    assert codes == ["files_quota_exceeded"]
    assert File.objects.get() == first
    assert kept(files_folder) == {first.stored_as}


def test_all_that_has_expired_goes(
    shop: Shop, files_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "EXPIRED_AT_ONCE", 2)
    for _ in range(5):
        uploaded(shop, CONTENT)
    left = uploaded(shop, CONTENT)
    File.objects.exclude(pk=left.pk).update(expires_at=timezone.now())
    assert expire_files() == 5
    assert File.objects.get() == left


def test_bytes_that_no_file_has_go_after_a_day(shop: Shop, files_folder: Path) -> None:
    organisation = shop.organisation
    file = uploaded(shop, CONTENT)
    old, new = (
        bytes_store(organisation=organisation, content=ContentFile(CONTENT)) for _ in range(2)
    )
    part = files_storage().save(f"{organisation.pk}/batch_1/part", ContentFile(CONTENT))
    long_ago = (timezone.now() - STRAY_AFTER - timedelta(minutes=1)).timestamp()
    for name in (file.stored_as, old.stored_as, part):
        os.utime(files_folder / name, (long_ago, long_ago))
    assert clear_strays() == 1
    assert kept(files_folder) == {file.stored_as, new.stored_as, part}


def test_nothing_goes_where_nothing_was_kept(db: None, files_folder: Path) -> None:
    files_folder.rmdir()
    assert clear_strays() == 0

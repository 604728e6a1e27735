"""Customers' files are in a folder, or in a bucket where one is named."""

from pathlib import Path

from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage
from django.utils.module_loading import import_string
from storages.backends.s3 import S3Storage

from marketplace.config.file_storage import FILE_IN_MEMORY_BYTES, files_storage


def storage_of(folder: Path, bucket: str = "", endpoint_url: str = "") -> Storage:
    entry = files_storage(folder=folder, bucket=bucket, endpoint_url=endpoint_url)
    made = import_string(entry["BACKEND"])(**entry["OPTIONS"])
    assert isinstance(made, Storage)
    return made


def test_files_are_in_a_folder_that_only_its_owner_reads(tmp_path: Path) -> None:
    storage = storage_of(tmp_path / "files")
    assert isinstance(storage, FileSystemStorage)
    path = tmp_path / "files" / storage.save("7/file-1", ContentFile(b"x"))
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_bucket_is_used_where_one_is_named_and_read_in_bounded_memory(tmp_path: Path) -> None:
    storage = storage_of(tmp_path, "waypost-files", "https://s3.example.com")
    assert isinstance(storage, S3Storage)
    assert (storage.bucket_name, storage.endpoint_url) == (
        "waypost-files",
        "https://s3.example.com",
    )
    assert storage.max_memory_size == FILE_IN_MEMORY_BYTES
    assert not storage.file_overwrite
    assert storage_of(tmp_path, "waypost-files").endpoint_url is None  # type: ignore[attr-defined]

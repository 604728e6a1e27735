"""Where customers' files are kept: a folder of this machine, or a bucket of an S3-like storage."""

from pathlib import Path
from typing import Any

FILE_IN_MEMORY_BYTES = 1024 * 1024
"""What is read of an object is buffered on disk beyond this."""


def files_storage(*, folder: Path, bucket: str, endpoint_url: str) -> dict[str, Any]:
    """The entry ``files`` of Django's ``STORAGES``; credentials of a bucket are boto3's own."""
    if not bucket:
        options: dict[str, Any] = {
            "location": str(folder),
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        }
        return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": options}
    options = {
        "bucket_name": bucket,
        "endpoint_url": endpoint_url or None,
        "file_overwrite": False,
        "default_acl": None,
        "max_memory_size": FILE_IN_MEMORY_BYTES,
    }
    return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}

"""Files and batches as OpenAI's clients read them. Times are in seconds of Unix time."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from django.utils import timezone

from marketplace.batches.models import Batch, File

T = TypeVar("T", File, Batch)


def file_object(file: File) -> dict[str, Any]:
    """OpenAI's ``file``."""
    return {
        "id": file.public_id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": unix_s(file.created_at),
        "expires_at": unix_s(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def batch_object(batch: Batch) -> dict[str, Any]:
    """OpenAI's ``batch``, with its speed and its expected end in addition."""
    now = timezone.now()
    return {
        "id": batch.public_id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model_names[0] if len(batch.model_names) == 1 else None,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": unix_s(batch.created_at),
        "in_progress_at": unix_s(batch.in_progress_at),
        "expires_at": unix_s(batch.expires_at),
        "finalizing_at": unix_s(batch.finalizing_at),
        "completed_at": unix_s(batch.completed_at),
        "failed_at": unix_s(batch.failed_at),
        "expired_at": unix_s(batch.expired_at),
        "cancelling_at": unix_s(batch.cancelling_at),
        "cancelled_at": unix_s(batch.cancelled_at),
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "metadata": batch.metadata or None,
        "lines_per_second": batch.rate_hz,
        "expected_at": unix_s(batch.lines_end_at(now)),
    }


def page_object(
    rows: Sequence[T], has_more: bool, shape: Callable[[T], Mapping[str, Any]]
) -> dict[str, Any]:
    """OpenAI's ``list``."""
    return {
        "object": "list",
        "data": [shape(row) for row in rows],
        "first_id": rows[0].public_id if rows else None,
        "last_id": rows[-1].public_id if rows else None,
        "has_more": has_more,
    }


def unix_s(at: datetime | None) -> int | None:
    """The second of a time; None without one."""
    return int(at.timestamp()) if at else None

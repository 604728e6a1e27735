"""Asking for batches, and cancelling them."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.models import User
from marketplace.batches.formats.lines import TASKS, endpoint_is_served
from marketplace.batches.models import STATUSES_OPEN, Batch, BatchStatus, File, Purpose
from marketplace.inference.callers import Caller
from marketplace.inference.idempotency import asked_before
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_ask, job_cancel

OPEN_MAX = 100
"""Batches of an organisation that are not over."""
WINDOW = re.compile(r"(?P<count>[1-9]\d{0,4})(?P<unit>[mhd])")
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
WINDOW_MAX = timedelta(days=7)
ENDPOINTS = (*TASKS, "/v2/models/author/slug/infer")
ENDPOINT_CHARACTERS_MAX = 200
METADATA_PAIRS_MAX = 16
METADATA_KEY_CHARACTERS_MAX = 64
METADATA_VALUE_CHARACTERS_MAX = 512


class BatchRefused(ValueError):
    """The message is for people; ``param`` names the field at fault."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


def window_of_time(text: str) -> timedelta:
    """A completion window like 24h. Raises :class:`BatchRefused`."""
    found = WINDOW.fullmatch(text)
    window = int(found["count"]) * UNITS[found["unit"]] if found else WINDOW_MAX * 2
    if window > WINDOW_MAX:
        raise BatchRefused(
            "invalid_completion_window",
            _("A completion window looks like 24h, 90m or 2d, up to 7d."),
            "completion_window",
        )
    return window


@transaction.atomic
def batch_create_once(
    *, caller: Caller, idempotency_key: str, fingerprint: str, **wishes: Any
) -> tuple[Batch, bool]:
    """:func:`batch_create`, unless it was asked for with this key; and whether it was.

    ``fingerprint`` tells requests with one key apart. Raises :class:`AskedTwice` and
    :class:`OtherRequest` too.
    """
    if idempotency_key:
        found = asked_before(Batch.objects.all(), caller, idempotency_key, fingerprint)
        if found is not None:
            return found, True
    batch = batch_create(
        caller=caller, idempotency_key=idempotency_key, fingerprint=fingerprint, **wishes
    )
    return batch, False


@transaction.atomic
def batch_create(
    *,
    caller: Caller,
    input_file_id: str,
    endpoint: str,
    completion_window: str = "24h",
    metadata: Mapping[str, str] | None = None,
    asked_by: User | None = None,
    idempotency_key: str = "",
    fingerprint: str = "",
) -> Batch:
    """Queue a batch over a file of the caller's organisation. Raises :class:`BatchRefused`."""
    window = window_of_time(completion_window)
    if not endpoint_is_served(endpoint) or len(endpoint) > ENDPOINT_CHARACTERS_MAX:
        raise BatchRefused(
            "invalid_endpoint",
            _("Batches call %(endpoints)s, not %(asked)s.")
            % {
                "endpoints": ", ".join(ENDPOINTS),
                "asked": repr(endpoint)[:ENDPOINT_CHARACTERS_MAX],
            },
            "endpoint",
        )
    _check_metadata(metadata or {})
    # Locked, so that it is not deleted before the batch is there.
    files = File.objects.select_for_update().filter(organisation=caller.organisation_id)
    file = files.filter(public_id=input_file_id).first()
    if file is None:
        raise BatchRefused(
            "file_not_found",
            _("There is no file %(id)s.") % {"id": repr(input_file_id)},
            "input_file_id",
        )
    if file.purpose != Purpose.BATCH:
        raise BatchRefused(
            "invalid_purpose", _("An input file needs the purpose batch."), "input_file_id"
        )
    rows = Batch.objects.filter(organisation=caller.organisation_id, status__in=STATUSES_OPEN)
    if rows.count() >= OPEN_MAX:
        raise BatchRefused(
            "too_many_batches",
            _("%(most)s batches have not ended yet: wait, or cancel some.") % {"most": OPEN_MAX},
        )
    batch = Batch(
        organisation_id=caller.organisation_id,
        account_id=caller.account_id,
        key_id=caller.key_id,
        user_id=caller.user_id,
        asked_by=asked_by,
        endpoint=endpoint,
        input_file=file,
        completion_window=completion_window,
        metadata=dict(metadata or {}),
        expires_at=timezone.now() + window,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
    )
    job_ask(batch)
    return batch


@transaction.atomic
def batch_cancel(*, batch: Batch) -> Batch:
    """Ask it to end: at once where nothing was sent. What is over stays as it is.

    What was done is kept and delivered.
    """
    row = Batch.objects.select_for_update().get(pk=batch.pk)
    if row.status not in {BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS}:
        return row
    now = timezone.now()
    row.status, row.cancelling_at = BatchStatus.CANCELLING, now
    if row.state == JobState.QUEUED and row.in_progress_at is None:
        job_cancel(row)
        row.status, row.cancelling_at, row.cancelled_at = BatchStatus.CANCELLED, now, now
    row.save(update_fields=["status", "cancelling_at", "cancelled_at"])
    return row


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    fits = len(metadata) <= METADATA_PAIRS_MAX and all(
        len(name) <= METADATA_KEY_CHARACTERS_MAX
        and isinstance(value, str)
        and len(value) <= METADATA_VALUE_CHARACTERS_MAX
        for name, value in metadata.items()
    )
    if not fits:
        raise BatchRefused(
            "invalid_metadata",
            _("metadata has up to %(pairs)s texts of %(characters)s characters.")
            % {"pairs": METADATA_PAIRS_MAX, "characters": METADATA_VALUE_CHARACTERS_MAX},
            "metadata",
        )

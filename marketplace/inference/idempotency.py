"""``Idempotency-Key`` of requests for jobs: the same one again gets the first's job, for a day.

A kind of job that takes keys has columns ``organisation``, ``key_id`` and ``user_id`` of who asked,
``idempotency_key``, which is unique for them unless it is "", and ``fingerprint``.
"""

import json
from datetime import timedelta
from hashlib import sha256
from http import HTTPStatus
from typing import Any
from zlib import crc32

from django.db import connection
from django.db.models import Model, QuerySet
from django.utils import timezone
from rest_framework.request import Request

from marketplace.inference.callers import Caller
from marketplace.inference.errors import JobError

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
CHARACTERS_MAX = 255
KEPT = timedelta(hours=24)
RETRY_AFTER_S = 1
LOCK_SPACE = 0x5750_494B  # "WPIK": this caller asks with this key now


class AskedTwice(JobError):
    """The first request with this key is still being taken."""

    wait = RETRY_AFTER_S
    """REST framework's word: ``Retry-After``."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"The request with {HEADER} {key!r} is being taken.",
            code="idempotency_in_flight",
            status=HTTPStatus.CONFLICT,
        )


class OtherRequest(JobError):
    """The key was used for another request."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{HEADER} {key!r} was used for another request; use a new one.",
            code="idempotency_mismatch",
            param=HEADER,
        )


def key_of(request: Request) -> str:
    """The request's key, or "". Raises the caller's error."""
    key = request.headers.get(HEADER, "")
    if len(key) > CHARACTERS_MAX or not key.isprintable():
        raise JobError(
            f"{HEADER} must be at most {CHARACTERS_MAX} printable characters", param=HEADER
        )
    return key


def fingerprint_of(*said: Any) -> str:
    """What tells requests with one key apart."""
    return sha256(json.dumps(said).encode()).hexdigest()


def asked_before(rows: QuerySet[Any], caller: Caller, key: str, fingerprint: str) -> Any:
    """The one of these jobs that its caller asked for with this key, or None.

    To be asked in the transaction that makes the job otherwise: the key is taken until its end.
    Raises :class:`AskedTwice` or :class:`OtherRequest`.
    """
    with connection.cursor() as cursor:
        lock = [LOCK_SPACE, key_number(rows.model, caller, key)]
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", lock)
        if not cursor.fetchone()[0]:
            raise AskedTwice(key)
    known = rows.filter(
        organisation=caller.organisation_id,
        key_id=caller.key_id,
        user_id=caller.user_id,
        idempotency_key=key,
    )
    known.filter(created_at__lt=timezone.now() - KEPT).update(idempotency_key="")
    found = known.first()
    if found is not None and found.fingerprint != fingerprint:
        raise OtherRequest(key)
    return found


def key_number(model: type[Model], caller: Caller, key: str) -> int:
    """What stands for a caller's key among locks."""
    who = (caller.organisation_id, caller.key_id, caller.user_id)
    return crc32(f"{model._meta.db_table}{who}{key}".encode()) - 2**31

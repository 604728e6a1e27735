"""The exit status of each kind of error, for scripts."""

from __future__ import annotations

from waypost import errors

NOT_ALL_ANSWERED = 1
USAGE = 2
INTERRUPTED = 130

STATUSES: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.NotConfigured, 2, "No key, or a setting that cannot be."),
    (errors.AuthenticationFailed, 3, "The key is wrong, expired or revoked (401)."),
    (errors.PermissionRefused, 3, "The key may not do this (403)."),
    (errors.PaymentRequired, 4, "No credit, or a budget is used up (402)."),
    (errors.NotFound, 5, "No such model, call, batch or prediction (404)."),
    (errors.BadRequest, 6, "The request itself is wrong (400, 413, 415, 422, 431)."),
    (errors.Conflict, 6, "It cannot be done now: it is over, in use or still running (409)."),
    (errors.Limited, 7, "A limit or a full queue (429), also after waiting for `Retry-After`."),
    (errors.TooLate, 8, "Its own deadline passed (408)."),
    (errors.ServiceFailed, 8, "The service or a worker failed (5xx)."),
    (errors.Unreachable, 9, "No connection; nothing was sent."),
    (errors.ConnectionBroken, 10, "Sent, but no answer came: it may have been done."),
    (errors.StreamBroken, 10, "A stream broke off before its end."),
    (errors.AnswerInvalid, 11, "What answered is not Waypost."),
)
"""The first that fits, its exit status, and what it means."""


def status_of(error: Exception) -> int:
    """1 for what is in no row."""
    found = (status for kind, status, _ in STATUSES if isinstance(error, kind))
    return next(found, NOT_ALL_ANSWERED)

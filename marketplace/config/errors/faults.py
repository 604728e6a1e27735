"""Answers to unexpected errors: a page or, below ``/api/`` and ``/v1/``, a document."""

import sys
from http import HTTPStatus

import psycopg
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import DatabaseError, DataError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from marketplace.config.errors.refusals import API, JOBS, Refusal, refusal

PAGES: dict[int, str] = {
    HTTPStatus.INTERNAL_SERVER_ERROR: "500.html",
    HTTPStatus.SERVICE_UNAVAILABLE: "503.html",
}
"""What a browser is shown, by status."""

RETRY_AFTER_S = 5
"""A restart of the database takes a few seconds."""


def fault(error: BaseException | None, path: str) -> Refusal:
    """The answer to an error that no view handles.

    503 if the database is unavailable, 400 if it cannot store a value or a model refuses it, else
    500.
    """
    if _is_away(error):
        away = "The database cannot be asked now. Try again in a moment."
        return refusal(path, HTTPStatus.SERVICE_UNAVAILABLE, away, retry_after_s=RETRY_AFTER_S)
    if isinstance(error, DataError):
        outside = "A value is outside of what can be kept: a number too large, a text too long."
        return refusal(path, HTTPStatus.BAD_REQUEST, outside)
    if isinstance(error, ValidationError):
        return refusal(path, HTTPStatus.BAD_REQUEST, " ".join(error.messages))
    ours = "This is our fault. Try again; if it stays, the log of the server says why."
    return refusal(path, HTTPStatus.INTERNAL_SERVER_ERROR, ours)


def _is_away(error: BaseException | None) -> bool:
    """Whether the database could not be asked, or was lost in the midst of it."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    # What its client library says of a broken connection by itself has no SQLSTATE, and then
    # psycopg knows no closer class.
    cause = error.__cause__ if error is not None else None
    return (
        type(error) is DatabaseError
        and isinstance(cause, psycopg.DatabaseError)
        and cause.sqlstate is None
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an error without using the database, which may be what failed."""
    answer = fault(sys.exc_info()[1], request.path)
    page = PAGES.get(answer.status)
    if page is None or request.path.startswith((API, JOBS)):
        return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))
    # The page's scripts need the request's nonce; no context processor runs.
    context = {"request": request, "contact": settings.WAYPOST_CONTACT}
    headers = {**answer.headers, "Content-Type": "text/html; charset=utf-8"}
    return HttpResponse(render_to_string(page, context), status=answer.status, headers=headers)

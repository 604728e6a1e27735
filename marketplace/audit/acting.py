"""The actor of a change: the person or key of the request, else the job, else the command.

The actor is read when an entry is written, not when the request begins: only Django REST framework
knows the API key, and nobody is signed in before signing in.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from allauth.account.adapter import get_adapter
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import ApiKey, User
from marketplace.shared.jobs.current import job_running

NAME_MAX = 254
_request: ContextVar[HttpRequest | None] = ContextVar("audit_request", default=None)
_person: ContextVar[User | None] = ContextVar("audit_person", default=None)


class Source(models.TextChoices):
    """The interface through which somebody acted."""

    PAGE = "page", _("Page")
    API = "api", _("API")
    JOB = "job", _("Job")
    COMMAND = "command", _("Command")


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change; ``address`` is the client address of a request."""

    source: Source
    name: str
    user: User | None = None
    key: ApiKey | None = None
    address: str | None = None


@contextmanager
def acting_in(request: HttpRequest) -> Iterator[None]:
    """Attribute changes inside the block to the request's caller."""
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


@contextmanager
def acting_as(person: User) -> Iterator[None]:
    """Attribute changes inside the block to who asked for them earlier, whoever's request it is."""
    token = _person.set(person)
    try:
        yield
    finally:
        _person.reset(token)


def current_actor() -> Actor:
    """The author of changes made now."""
    request = _request.get()
    if request is not None:
        return _of_request(request)
    if job := job_running():
        return Actor(Source.JOB, job[:NAME_MAX])
    return Actor(Source.COMMAND, _command()[:NAME_MAX])


def _of_request(request: HttpRequest) -> Actor:
    key = getattr(request, "auth", None)
    in_api = request.path_info.startswith("/api/")
    source = Source.API if in_api else Source.PAGE
    address = _address(request)
    if isinstance(key, ApiKey):
        return Actor(source, str(key)[:NAME_MAX], key=key, address=address)
    user = _person.get() or getattr(request, "user", None)
    if isinstance(user, User) and user.pk is not None:
        return Actor(source, user.email, user=user, address=address)
    return Actor(source, "", address=address)


def _address(request: HttpRequest) -> str | None:
    try:
        return get_adapter().get_client_ip(request)
    except PermissionDenied:
        return None


def _command() -> str:
    program = Path(sys.argv[0]).name if sys.argv else ""
    verbs = sys.argv[1:3] if program == "manage.py" else []
    return " ".join([program, *(verb for verb in verbs if not verb.startswith("-"))])

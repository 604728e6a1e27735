"""Who may send a file. A stranger's body is bounded as any other is: it takes no upload's place."""

import time
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.db import DatabaseError
from django.http.cookie import parse_cookie
from rest_framework.exceptions import AuthenticationFailed

from marketplace.accounts.authentication import key_found
from marketplace.shared.connections import connection_rest
from router.domain.keys import SESSION_PREFIX, verify_session

BEARER = "bearer "


def is_known(scope: dict[str, Any]) -> bool:
    """Whether a request has an active key, a session token or a signed-in session.

    What it may do is decided later. Reads the database; False where that is away.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    authorization = headers.get(b"authorization", "")
    is_bearer = authorization[: len(BEARER)].lower() == BEARER
    token = authorization[len(BEARER) :].strip() if is_bearer else headers.get(b"x-api-key", "")
    try:
        return _is_token(token) if token else _is_signed_in(headers.get(b"cookie", ""))
    except (AuthenticationFailed, DatabaseError):
        return False
    finally:
        connection_rest()


def _is_token(token: str) -> bool:
    if token.startswith(SESSION_PREFIX):
        claims = verify_session(token, settings.WAYPOST_KEY_PEPPER)
        return claims is not None and time.time() < claims.expires_at_s
    return bool(key_found(token))


def _is_signed_in(cookie: str) -> bool:
    session_key = parse_cookie(cookie).get(settings.SESSION_COOKIE_NAME)
    store = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return SESSION_KEY in store

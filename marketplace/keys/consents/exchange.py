"""Where tools exchange their code: in OAuth's words, and in OpenRouter's. And where they read that.

From any web page, as what they send proves who they are; no cookie is looked at.
"""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from allauth.core.internal import ratelimit
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse, RawPostDataException
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from marketplace.accounts.models import ApiKey, Scope
from marketplace.keys.consents.services import ExchangeRefused, consent_exchange
from marketplace.shared.texts import unkept_in

RETRY_AFTER_S = 60
ANYWHERE = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store"}
ASKED_BEFORE = {
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "content-type, authorization",
    "Access-Control-Max-Age": "600",
}


@csrf_exempt
@require_http_methods(["POST", "OPTIONS"])
def token(request: HttpRequest) -> HttpResponse:
    """The token endpoint (RFC 6749, section 4.1.3): a form, answered with the key as a token."""

    def refused(status: HTTPStatus, code: str, message: str) -> HttpResponse:
        return _json({"error": code, "error_description": message}, status)

    form = request.POST if request.method == "POST" else {}
    if form and form.get("grant_type") != "authorization_code":
        only = "The grant_type here is authorization_code."
        return refused(HTTPStatus.BAD_REQUEST, "unsupported_grant_type", only)
    names = ("code", "code_verifier", "redirect_uri")
    return _exchange(request, {name: form.get(name) for name in names}, _as_token, refused)


@csrf_exempt
@require_http_methods(["POST", "OPTIONS"])
def keys(request: HttpRequest) -> HttpResponse:
    """The same as OpenRouter has it: JSON, answered with ``key``."""

    def refused(status: HTTPStatus, code: str, message: str) -> HttpResponse:
        return _json({"error": {"code": int(status), "message": message, "type": code}}, status)

    names = ("code", "code_verifier")
    body = _body(request)
    return _exchange(request, {name: body.get(name) for name in names}, _as_key, refused)


@require_safe
def metadata(request: HttpRequest) -> HttpResponse:
    """What a tool has to know (RFC 8414)."""
    here = settings.WAYPOST_PUBLIC_URL
    said = {
        "issuer": here,
        "authorization_endpoint": here + reverse("authorize"),
        "token_endpoint": here + reverse("key-token"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "scopes_supported": list(Scope.values),
        "authorization_response_iss_parameter_supported": True,
        "service_documentation": f"{here}/docs/how-to/sign-in-to-get-a-key/",
    }
    return _json(said)


def _exchange(
    request: HttpRequest,
    given: dict[str, Any],
    answer: Callable[[ApiKey, str], dict[str, Any]],
    refused: Callable[[HTTPStatus, str, str], HttpResponse],
) -> HttpResponse:
    if request.method == "OPTIONS":
        return HttpResponse(status=HTTPStatus.NO_CONTENT, headers={**ANYWHERE, **ASKED_BEFORE})
    if ratelimit.consume(request, app="allauth.account", action="key_exchange") is None:
        often = refused(HTTPStatus.TOO_MANY_REQUESTS, "slow_down", "Too many tries: wait a minute.")
        often.headers["Retry-After"] = str(RETRY_AFTER_S)
        return often
    missing = [name for name, value in given.items() if not isinstance(value, str) or not value]
    if missing:
        message = f"There must be {', '.join(missing)}."
        return refused(HTTPStatus.BAD_REQUEST, "invalid_request", message)
    try:
        row, key = consent_exchange(
            code=given["code"],
            verifier=given["code_verifier"],
            redirect_uri=given.get("redirect_uri"),
        )
    except ExchangeRefused as error:
        return refused(HTTPStatus.BAD_REQUEST, "invalid_grant", str(error))
    return _json(answer(row, key))


def _as_token(row: ApiKey, key: str) -> dict[str, Any]:
    return {
        "access_token": key,
        "token_type": "Bearer",
        "scope": " ".join(row.scopes),
        "base_url": f"{settings.WAYPOST_ROUTER_URL}/v1",
    }


def _as_key(row: ApiKey, key: str) -> dict[str, Any]:
    return {"key": key, "user_id": None, "base_url": f"{settings.WAYPOST_ROUTER_URL}/v1"}


def _body(request: HttpRequest) -> dict[str, Any]:
    try:
        body = json.loads(request.body or b"{}")
    except (ValueError, RecursionError, RawPostDataException):
        # The last is a form of several parts, which was read already.
        return {}
    return body if isinstance(body, dict) and not unkept_in(body) else {}


def _json(said: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> HttpResponse:
    return JsonResponse(said, status=status, headers=ANYWHERE)

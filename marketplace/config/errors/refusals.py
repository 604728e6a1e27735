"""Answers given before any view: a problem document below ``/api/``, OpenAI's error below
``/v1/``, else plain text.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from router.contracts.openai_error import openai_error

API = "/api/"
JOBS = "/v1/"
PROBLEM_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def refusal(
    path: str, status: HTTPStatus, detail: str, *, retry_after_s: int | None = None
) -> Refusal:
    """The answer to a request of ``path``; ``detail`` is a sentence about what was wrong."""
    headers = {"Cache-Control": "no-store"}
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    if path.startswith(JOBS):
        headers["Content-Type"] = "application/json"
        code = status.name.lower()
        return Refusal(status, headers, openai_error(status, detail, code=code))
    if not path.startswith(API):
        headers["Content-Type"] = "text/plain; charset=utf-8"
        return Refusal(status, headers, f"{detail}\n".encode())
    problem = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "instance": path,
        "detail": detail,
    }
    headers["Content-Type"] = PROBLEM_TYPE
    # json.dumps escapes: a path may have lone surrogates, which UTF-8 cannot encode.
    return Refusal(status, headers, json.dumps(problem).encode())


def too_large(path: str, bytes_max: int) -> Refusal:
    """The 413 for a body of more than ``bytes_max`` bytes."""
    detail = f"A body may have {bytes_max:,} bytes here."
    return refusal(path, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)

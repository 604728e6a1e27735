"""A caller of ``/v1/predictions``, and the job process that it needs."""

import json
import uuid
from typing import Any

from django.test import Client

from marketplace.accounts.services import api_key_create
from marketplace.predictions.models import Prediction
from marketplace.shared.jobs.services import job_run_next
from workers import celery_app  # noqa: F401 # registers all kinds

CHAT = {"messages": [{"role": "user", "content": "Tell me of the sea"}]}


class Api:
    """A caller with a key."""

    def __init__(self, organisation: Any) -> None:
        row, self._key = api_key_create(
            organisation=organisation, name=f"k{uuid.uuid4().hex[:6]}", scopes=["inference"]
        )
        self.key_id = row.pk

    def __call__(self, method: str, path: str = "", body: Any = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Client().generic(
            method,
            path if path.startswith("/") else f"/v1/predictions{path and '/' + path}",
            body if isinstance(body, str) else json.dumps(body) if body is not None else "",
            content_type="application/json",
            headers={"authorization": f"Bearer {self._key}", **named},
        )

    def ask(self, **body: Any) -> Any:
        return self("POST", body={"model": "author/slug", "input": CHAT} | body)


def run_one() -> Prediction:
    prediction = job_run_next(Prediction)
    assert isinstance(prediction, Prediction)
    return prediction


def error_of(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error

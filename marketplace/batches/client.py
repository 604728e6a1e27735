"""A batch as its customer sees it: upload a file, follow it, and download the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from marketplace.batches.formats.lines import first_url, rows_endpoint
from marketplace.batches.models import STATUSES_OPEN

POLL_S = 1.0
AWAY_S = 120.0
"""How long a router or a site that does not answer is waited for while a batch runs."""
ANSWER_S = 60.0
"""What any answer may take; an upload or a download may be as long as it comes."""

Batch = Mapping[str, Any]
"""OpenAI's ``batch``, as in the API."""


class BatchClientError(Exception):
    """The message is for people."""


class BatchClient:
    """Speaks to the public API of the router at ``url`` with an API key."""

    def __init__(self, url: str, key: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(ANSWER_S, read=None, write=None),
            transport=transport,
            trust_env=False,
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def begin(self, path: Path, *, model: str = "", completion_window: str = "24h") -> Batch:
        """Upload the file and ask for its batch. Raises :class:`BatchClientError`.

        The first line of a file of calls says which endpoint is called; rows are for ``model``.
        """
        with path.open("rb") as content:
            endpoint = first_url(content) or (rows_endpoint(model) if model else "")
            if not endpoint:
                raise BatchClientError(f"{path} has no calls: name the model of its rows.")
            given = {"file": (path.name, content)}
            file = self._json("POST", "/v1/files", data={"purpose": "batch"}, files=given)
        asked = {
            "input_file_id": file["id"],
            "endpoint": endpoint,
            "completion_window": completion_window,
        }
        return self._json("POST", "/v1/batches", json=asked)

    def follow(self, batch: Batch, show: Callable[[Batch], None]) -> Batch:
        """Wait for its end; ``show`` sees it every second. Raises :class:`BatchClientError`."""
        answered_s = time.monotonic()
        while True:
            show(batch)
            if batch["status"] not in STATUSES_OPEN:
                return batch
            time.sleep(POLL_S)
            try:
                response = self._http.get(f"/v1/batches/{batch['id']}", timeout=ANSWER_S)
            except httpx.TransportError as error:
                if time.monotonic() - answered_s > AWAY_S:
                    raise BatchClientError(f"no answer: {_said(error)}") from error
                continue
            if response.is_server_error and time.monotonic() - answered_s <= AWAY_S:
                continue
            batch = _checked(response)
            answered_s = time.monotonic()

    def fetch(self, file_id: str, path: Path) -> int:
        """Write a file's content there; returns its bytes. Raises :class:`BatchClientError`."""
        try:
            with self._http.stream("GET", f"/v1/files/{file_id}/content") as response:
                if response.is_error:
                    response.read()
                    _checked(response)
                with path.open("wb") as out:
                    return sum(out.write(part) for part in response.iter_bytes())
        except httpx.TransportError as error:
            raise BatchClientError(_said(error)) from error

    def _json(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        try:
            return _checked(self._http.request(method, path, **given))
        except httpx.TransportError as error:
            raise BatchClientError(f"{self._http.base_url}: {_said(error)}") from error


def _checked(response: httpx.Response) -> dict[str, Any]:
    """The answer. Raises :class:`BatchClientError` with what an error says."""
    try:
        answer: dict[str, Any] = response.json()
        if response.is_success:
            return answer
        said = str(answer["error"]["message"])
    except (ValueError, KeyError, TypeError):
        said = response.text[:200]
    raise BatchClientError(f"{response.status_code}: {said}")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__

"""Files, and batches of calls or rows that are made from them."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from waypost.api.models import rows_of
from waypost.errors import (
    ConnectionBroken,
    ServiceFailed,
    Unreachable,
    WaypostError,
)
from waypost.operations import (
    IO,
    Resource,
    break_error,
    given,
    mapping,
    operation,
    stream,
)
from waypost.shapes import Batch, File, batch_of, file_of
from waypost.wire import (
    Broken,
    Close,
    Emit,
    Items,
    More,
    Pause,
    Request,
    Steps,
    Upload,
    json_request,
)

T = TypeVar("T")

LINE_BYTES_MAX = 10 * 1024 * 1024
"""Of a file's first line: as long as the API takes one."""
PAGE = 100
POLL_S = 1.0
AWAY_S = 120.0
"""How long a service that does not answer is waited for while a batch is followed."""

Progress = Callable[[int], None]
"""Gets the bytes that were sent or received so far."""


class Files(Resource[IO]):
    """``client.files``."""

    @operation
    def upload(
        self, path: str | os.PathLike[str], *, on_bytes: Progress | None = None
    ) -> Steps[File]:
        """Upload a file for a batch. Raises :class:`WaypostError`, and OSError."""
        return (yield from _uploaded(self, Path(path), on_bytes))

    @operation
    def get(self, file_id: str) -> Steps[File]:
        """One."""
        return file_of((yield from self._json(json_request("GET", _file(file_id)))))

    @operation
    def list(self, *, limit: int = 100) -> Steps[Sequence[File]]:
        """The organisation's, the newest first, up to ``limit``."""
        return (yield from _listed(self, "/v1/files", file_of, limit))

    @operation
    def delete(self, file_id: str) -> Steps[None]:
        """Delete it. Raises :class:`FileInUse` while a batch reads it."""
        yield from self._send(json_request("DELETE", _file(file_id)))

    @operation
    def download(
        self,
        file_id: str,
        path: str | os.PathLike[str],
        *,
        on_bytes: Progress | None = None,
    ) -> Steps[int]:
        """Write its content there, all or nothing; returns its bytes.

        Raises :class:`WaypostError`, and OSError.
        """
        target = Path(path)
        part_path = target.with_name(f".{target.name}.part")
        yield from self._open(json_request("GET", f"{_file(file_id)}/content"))
        size = 0
        try:
            with part_path.open("wb") as out:
                while part := (yield More()):
                    if isinstance(part, Broken):
                        raise break_error(part)
                    size += out.write(part)
                    if on_bytes is not None:
                        on_bytes(size)
            part_path.replace(target)
        finally:
            part_path.unlink(missing_ok=True)
        yield Close()
        return size


class Batches(Resource[IO]):
    """``client.batches``."""

    @operation
    def start(
        self,
        path: str | os.PathLike[str],
        *,
        model: str = "",
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        on_bytes: Progress | None = None,
    ) -> Steps[Batch]:
        """Upload a file and ask for its batch.

        The first line of a file of calls says which endpoint is called; rows (CSV) are for
        ``model``. Raises :class:`WaypostError`, ValueError for rows without a model, and OSError.
        """
        endpoint = _endpoint(Path(path), model)
        file = yield from _uploaded(self, Path(path), on_bytes)
        asked = _asked(file.id, endpoint, completion_window, metadata)
        return (yield from _created(self, asked))

    @operation
    def create(
        self,
        input_file_id: str,
        endpoint: str,
        *,
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Batch]:
        """A batch over an uploaded file. Raises :class:`WaypostError`.

        It is made once, however often it is sent: there is always a key for that.
        """
        asked = _asked(input_file_id, endpoint, completion_window, metadata)
        return (yield from _created(self, asked, idempotency_key))

    @operation
    def get(self, batch_id: str) -> Steps[Batch]:
        """One."""
        return batch_of((yield from self._json(json_request("GET", _batch(batch_id)))))

    @operation
    def list(self, *, limit: int = 100) -> Steps[Sequence[Batch]]:
        """The organisation's, the newest first, up to ``limit``."""
        return (yield from _listed(self, "/v1/batches", batch_of, limit))

    @operation
    def cancel(self, batch_id: str) -> Steps[Batch]:
        """Send no more of it. What was answered is delivered and charged."""
        request = json_request("POST", f"{_batch(batch_id)}/cancel", is_repeatable=True)
        return batch_of((yield from self._json(request)))

    @stream
    def follow(
        self, batch_id: str, *, poll_s: float = POLL_S, away_s: float = AWAY_S
    ) -> Items[Batch]:
        """The batch as it is every ``poll_s``, to its end: the last one is over.

        It goes on through an outage of up to ``away_s``. Raises :class:`WaypostError`.
        """
        answered_s = self._core.clock()
        while True:
            found = yield from self._looked(batch_id)
            if isinstance(found, Batch):
                answered_s = self._core.clock()
                yield Emit(found)
                if found.is_over:
                    return
            elif self._core.clock() - answered_s >= away_s:
                raise found
            yield Pause(poll_s)

    def _looked(self, batch_id: str) -> Steps[Batch | WaypostError]:
        """The batch, or the error of a service that is away."""
        try:
            return batch_of((yield from self._json(json_request("GET", _batch(batch_id)))))
        except (Unreachable, ConnectionBroken, ServiceFailed) as error:
            return error


def _uploaded(resource: Resource[Any], path: Path, on_bytes: Progress | None) -> Steps[File]:
    upload = Upload(path, {"purpose": "batch"}, on_bytes)
    return file_of((yield from resource._json(Request("POST", "/v1/files", upload=upload))))


def _asked(
    file_id: str, endpoint: str, completion_window: str, metadata: Mapping[str, str] | None
) -> dict[str, Any]:
    return {
        "input_file_id": file_id,
        "endpoint": endpoint,
        "completion_window": completion_window,
        **given(metadata=metadata and dict(metadata)),
    }


def _created(
    resource: Resource[Any], asked: dict[str, Any], idempotency_key: str | None = None
) -> Steps[Batch]:
    key = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
    request = json_request("POST", "/v1/batches", asked, headers=key, is_repeatable=True)
    return batch_of((yield from resource._json(request)))


def _listed(
    resource: Resource[Any], path: str, shape: Callable[[Any], T], limit: int
) -> Steps[Sequence[T]]:
    found: list[T] = []
    params: dict[str, Any] = {"limit": max(1, min(limit, PAGE))}
    while len(found) < limit:
        page = mapping((yield from resource._json(json_request("GET", path, params=params))))
        rows = rows_of(page, "data")
        found += map(shape, rows)
        if not rows or not page.get("has_more"):
            break
        params["after"] = page["last_id"]
    return found[:limit]


def _endpoint(path: Path, model: str) -> str:
    """Of a file of calls what its first line names, else that of the rows' model."""
    with path.open("rb") as file:
        line = b""
        while not line.strip() and (line := file.readline(LINE_BYTES_MAX)):
            pass
    try:
        url = json.loads(line).get("url")
    except (ValueError, AttributeError):
        url = None
    if isinstance(url, str) and url:
        return url
    if not model:
        raise ValueError(f"{path} has no calls: name the model of its rows")
    return f"/v2/models/{quote(model, safe='/:')}/infer"


def _file(file_id: str) -> str:
    return f"/v1/files/{quote(file_id, safe='')}"


def _batch(batch_id: str) -> str:
    return f"/v1/batches/{quote(batch_id, safe='')}"

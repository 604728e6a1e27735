"""The models that a key may call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from waypost.errors import AnswerInvalid
from waypost.operations import IO, Resource, mapping, operation
from waypost.shapes import Json, Model, model_of
from waypost.wire import Steps, json_request


class Models(Resource[IO]):
    """``client.models``."""

    @operation
    def list(self) -> Steps[Sequence[Model]]:
        """All of them."""
        return [model_of(one) for one in rows_of((yield from self._json(_get(""))), "data")]

    @operation
    def get(self, name: str) -> Steps[Model]:
        """One, by ``author/slug``. Raises :class:`ModelUnknown`."""
        return model_of((yield from self._json(_get(f"/{quote(name, safe='/:')}"))))

    @operation
    def endpoints(self, name: str) -> Steps[Sequence[Json]]:
        """Who offers it: provider, hardware, prices, and what was measured lately."""
        path = f"/{quote(name, safe='/:')}/endpoints"
        found = mapping((yield from self._json(_get(path))))
        return rows_of(found.get("data"), "endpoints")

    @operation
    def pipelines(self) -> Steps[Sequence[Json]]:
        """Models made of models. They run as predictions: ``predictions.create(id, input)``."""
        return rows_of((yield from self._json(json_request("GET", "/v1/pipelines"))), "data")


def _get(path: str) -> Any:
    return json_request("GET", f"/v1/models{path}")


def rows_of(answer: Any, name: str) -> Sequence[Json]:
    """The list of that name in an answer. Raises :class:`AnswerInvalid`."""
    rows = mapping(answer).get(name)
    if not isinstance(rows, list):
        raise AnswerInvalid(f"the answer has no list {name!r}")
    return [mapping(row) for row in rows]

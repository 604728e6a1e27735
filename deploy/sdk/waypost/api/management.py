"""The management API: usage, benchmarks, presets, the hardware advisor, what-if.

Answers are JSON as the API has it: its reference is the schema at ``/api/schema/``. The key needs
the scope ``management``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from waypost.api.models import rows_of
from waypost.errors import TimedOut
from waypost.operations import IO, Resource, given, mapping, operation, stream
from waypost.shapes import Json
from waypost.wire import Emit, Items, Pause, Request, Steps, json_request

PAGE = 200
POLL_S = 1.0
OPEN_STATES = frozenset({"queued", "running", "checking"})
UNTIL_S = 600.0
"""How long an answer is waited for."""


class _Management(Resource[IO]):
    def _get(self, path: str, **params: Any) -> Steps[Json]:
        request = _request("GET", path, params=given(**params))
        return mapping((yield from self._json(request)))

    def _post(self, path: str, body: Any = None) -> Steps[Json]:
        return mapping((yield from self._json(_request("POST", path, body))))

    def _list(self, path: str, limit: int, **params: Any) -> Steps[Sequence[Json]]:
        """The newest, up to ``limit``."""
        found: list[Json] = []
        asked = {"page_size": min(limit, PAGE), **given(**params)}
        while len(found) < limit:
            page = mapping((yield from self._json(_request("GET", path, params=asked))))
            found += rows_of(page, "results")
            cursor = parse_qs(urlsplit(str(page.get("next") or "")).query).get("cursor")
            if not cursor:
                break
            asked["cursor"] = cursor[0]
        return found[:limit]

    def _organisation(self, given_slug: str) -> Steps[str]:
        """The slug; without one that of the only organisation that the caller sees."""
        if given_slug:
            return given_slug
        seen = [str(row["slug"]) for row in (yield from self._list("organisations", PAGE))]
        if len(seen) != 1:
            raise ValueError(f"name the organisation: there are {', '.join(seen) or 'none'}")
        return seen[0]

    def _followed(self, path: str, poll_s: float, until_s: float) -> Items[Json]:
        """What is there, every ``poll_s``, until its ``state`` says that nothing more comes."""
        begin_s = self._core.clock()
        while True:
            found = yield from self._get(path)
            yield Emit(found)
            if found.get("state") not in OPEN_STATES:
                return
            if self._core.clock() - begin_s >= until_s:
                raise TimedOut(f"{path} is {found.get('state')} after {until_s:g} s")
            yield Pause(poll_s)


class UsageOf(_Management[IO]):
    """``client.usage``."""

    @operation
    def summary(
        self,
        /,
        *,
        organisation: str = "",
        range: str = "24h",  # The API's own word.
        by: str = "model",
        **filters: str,
    ) -> Steps[Json]:
        """Sums over calls: ``totals``, ``groups`` with ``others``, and ``steps`` over time.

        ``range`` is ``1h``, ``24h``, ``7d``, ``30d``, ``90d`` or ``custom`` with ``from`` and
        ``to``; ``by`` is ``model``, ``key``, ``member`` or ``outcome``. Amounts are nano-USD.
        """
        slug = yield from self._organisation(organisation)
        return (
            yield from self._get("usage/summary", organisation=slug, range=range, by=by, **filters)
        )

    @operation
    def calls(self, /, *, limit: int = 50, **filters: str) -> Steps[Sequence[Json]]:
        """The newest calls with cost, times, attempts and candidates, up to ``limit``.

        Filters: ``organisation``, ``model``, ``outcome``, ``pool``, ``created_after``, …
        """
        return (yield from self._list("usage", limit, **filters))


class Benchmarks(_Management[IO]):
    """``client.benchmarks``."""

    @operation
    def list(self, *, model: str | None = None, limit: int = 50) -> Steps[Sequence[Json]]:
        """The newest, up to ``limit``."""
        return (yield from self._list("benchmarks", limit, model__name=model))

    @operation
    def get(self, benchmark_id: int) -> Steps[Json]:
        """One, with its ``points``."""
        return (yield from self._get(f"benchmarks/{int(benchmark_id)}"))

    @operation
    def start(self, /, model: str, *, target: str, scenario: str, **fields: Any) -> Steps[Json]:
        """Ask for one: for staff, and providers for their own deployments.

        ``target`` is ``worker``, ``deployment`` or ``route``; ``fields`` are ``deployment``,
        ``worker`` and ``settings``.
        """
        body = {"model": model, "target": target, "scenario": scenario, **fields}
        return (yield from self._post("benchmarks", body))

    @operation
    def cancel(self, benchmark_id: int) -> Steps[Json]:
        """Stop it."""
        return (yield from self._post(f"benchmarks/{int(benchmark_id)}/cancel"))

    @stream
    def follow(
        self, benchmark_id: int, *, poll_s: float = POLL_S, until_s: float = 3_600.0
    ) -> Items[Json]:
        """It as it is every ``poll_s``, to its end. Raises :class:`TimedOut`."""
        path = f"benchmarks/{int(benchmark_id)}"
        yield from self._followed(path, poll_s, until_s)


class Presets(_Management[IO]):
    """``client.presets``: what calls say by ``@preset/name``, each in its last version."""

    @operation
    def list(self, *, organisation: str = "", limit: int = 50) -> Steps[Sequence[Json]]:
        """By their names, retired ones too."""
        slug = yield from self._organisation(organisation)
        return (yield from self._list("presets", limit, organisation=slug))

    @operation
    def get(self, name: str, *, organisation: str = "") -> Steps[Json]:
        """One. Raises ``ValueError`` if there is none."""
        return (yield from self._named(name, organisation))

    @operation
    def save(
        self,
        name: str,
        *,
        model: str = "",
        system: str = "",
        parameters: Mapping[str, Any] | None = None,
        organisation: str = "",
    ) -> Steps[Json]:
        """Save it, or its next version, which calls get within seconds.

        ``parameters`` are other fields of a call's body.
        """
        slug = yield from self._organisation(organisation)
        body = {
            "organisation": slug,
            "name": name,
            "model": model,
            "system": system,
            "parameters": dict(parameters or {}),
        }
        return (yield from self._post("presets", body))

    @operation
    def retire(self, name: str, *, organisation: str = "") -> Steps[None]:
        """Refuse the calls that name it. Saving it brings it back. Raises ``ValueError``."""
        found = yield from self._named(name, organisation)
        yield from self._send(_request("DELETE", f"presets/{found['id']}"))

    def _named(self, name: str, organisation: str) -> Steps[Json]:
        slug = yield from self._organisation(organisation)
        for one in (yield from self._list("presets", PAGE, organisation=slug)):
            if one.get("name") == name:
                return one
        raise ValueError(f"{slug} has no preset {name!r}")


class AdviceOf(_Management[IO]):
    """``client.advice``: which hardware to have."""

    @operation
    def ask(
        self, question: Mapping[str, Any], *, organisation: str = "", check: bool = False
    ) -> Steps[Json]:
        """Answered by the queueing model at once; with ``check`` a job emulates it afterwards."""
        slug = yield from self._organisation(organisation)
        body = {"organisation": slug, "question": dict(question), "check": check}
        return (yield from self._post("advice", body))

    @operation
    def get(self, advice_id: str) -> Steps[Json]:
        """One."""
        return (yield from self._get(f"advice/{quote(str(advice_id), safe='')}"))

    @stream
    def follow(
        self, advice_id: str, *, poll_s: float = POLL_S, until_s: float = UNTIL_S
    ) -> Items[Json]:
        """It as it is every ``poll_s``, until its check has ended. Raises :class:`TimedOut`."""
        path = f"advice/{quote(str(advice_id), safe='')}"
        yield from self._followed(path, poll_s, until_s)


class WhatIfs(_Management[IO]):
    """``client.what_ifs``: for the platform's staff, by their session, as no key is staff."""

    @operation
    def ask(self, question: Mapping[str, Any]) -> Steps[Json]:
        """Ask. Its answer comes by :meth:`follow`."""
        return (yield from self._post("what-ifs", {"question": dict(question)}))

    @operation
    def get(self, what_if_id: str) -> Steps[Json]:
        """One."""
        return (yield from self._get(f"what-ifs/{quote(str(what_if_id), safe='')}"))

    @stream
    def follow(
        self, what_if_id: str, *, poll_s: float = POLL_S, until_s: float = UNTIL_S
    ) -> Items[Json]:
        """It as it is every ``poll_s``, until it is done. Raises :class:`TimedOut`."""
        path = f"what-ifs/{quote(str(what_if_id), safe='')}"
        yield from self._followed(path, poll_s, until_s)


def _request(method: str, path: str, body: Any = None, **more: Any) -> Request:
    return json_request(method, f"/api/v1/{path}", body, plane="management", **more)

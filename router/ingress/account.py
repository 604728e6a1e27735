"""What a key can ask about itself: ``GET /v1/key``, ``/v1/credits`` and ``/v1/generation``.

The shapes are those of marketplaces (OpenRouter's). Amounts are exact decimal numbers of dollars.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
from msgspec import Raw

from router.contracts.record import UsageRecord, hedge_ms
from router.domain.errors import CallUnknown, RequestInvalid
from router.domain.money import format_usd
from router.domain.outcome import Outcome
from router.ingress.http.exchange import Exchange
from router.ingress.operations.operations import JSON
from router.ingress.proxy.forward import Forwarder
from router.pipeline.gateway import Gateway
from router.pipeline.plans.routing_table import Grant
from router.pipeline.recorders.recent import RecentCalls
from router.ports.books import Books, BudgetState
from router.scheduling.waiting.standing import Standing

RESETS = {"day": "daily", "week": "weekly", "month": "monthly"}
"""What marketplaces call the windows of budgets. A budget that never resets has none."""

GENERATION = "/v1/generation"

_encode = msgspec.json.Encoder().encode


class _Generation(msgspec.Struct):
    data: Raw


_decode = msgspec.json.Decoder(_Generation).decode


class Account:
    """Answers from the latest calls here, from the books, and from other routers."""

    def __init__(
        self,
        gateway: Gateway,
        recent: RecentCalls,
        books: Books,
        forwarder: Forwarder | None = None,
    ) -> None:
        self._gateway = gateway
        self._recent = recent
        self._books = books
        self._forwarder = forwarder

    async def answered(self, exchange: Exchange) -> bool:
        """Answer a ``GET`` if its path is one of these."""
        paths: dict[str, Callable[[Exchange, Grant], Any]] = {
            "/v1/key": self._key,
            "/v1/credits": self._credits,
            GENERATION: self._generation,
        }
        found = paths.get(exchange.path)
        if found is None:
            return False
        grant = self._gateway.authenticate(exchange.credential)
        data = await found(exchange, grant)
        await exchange.answer(200, JSON, _encode({"data": data}))
        return True

    async def _key(self, _: Exchange, grant: Grant) -> dict[str, Any]:
        spent = await self._books.spent(grant.organisation_id, grant.key_id)
        table = self._gateway.table
        budget_id = table.budget_of(grant.organisation_id, grant.key_id)
        budget = await self._books.budget(budget_id) if budget_id else None
        key = table.keys_by_id.get(grant.key_id)
        expires_at_s = key.expires_at_s if key is not None else 0
        return {
            "id": grant.key_id or None,
            "models": grant.models or None,
            "limit": _usd(budget.limit_nano) if budget else None,
            "limit_remaining": _left(budget) if budget else None,
            "limit_reset": RESETS.get(budget.window) if budget else None,
            "usage": _usd(spent.total_nano),
            "usage_daily": _usd(spent.day_nano),
            "usage_weekly": _usd(spent.week_nano),
            "usage_monthly": _usd(spent.month_nano),
            "expires_at": _time(expires_at_s * 1_000) if expires_at_s else None,
        }

    async def _credits(self, _: Exchange, grant: Grant) -> dict[str, Any]:
        posted_nano = await self._books.posted_nano(grant.purse.account_id)
        spent = await self._books.spent(grant.organisation_id, None)
        return {
            "total_credits": _usd(posted_nano + spent.total_nano),
            "total_usage": _usd(spent.total_nano),
        }

    async def _generation(self, exchange: Exchange, grant: Grant) -> dict[str, Any] | Raw:
        wanted = parse_qs(exchange.query).get("id", [""])[0]
        if not wanted:
            raise RequestInvalid("name a call: /v1/generation?id=<x-request-id>", param="id")
        unknown = CallUnknown(f"there is no call {wanted!r}", param="id")
        try:
            id_ = str(UUID(wanted))
        except ValueError:
            raise unknown from None
        standing = self._gateway.standing(id_)
        if standing is not None and standing.tenant == grant.organisation_id:
            return _waiting(id_, standing)
        record = self._recent.get(id_) or await self._books.call(id_)
        if record is None and self._forwarder is not None:
            # It may have just ended on another router and not be settled yet.
            answer = await self._forwarder.asked(exchange, f"{GENERATION}?id={id_}")
            if answer is not None:
                return _decode(answer).data
        # A call of another organisation must look like an unknown one.
        if record is None or record.organisation_id != grant.organisation_id:
            raise unknown
        providers = {
            e.deployment.id: e.deployment.provider for e in self._gateway.table.endpoints.values()
        }
        return _generation(record, providers.get(record.deployment_id))


def _waiting(id_: str, standing: Standing) -> dict[str, Any]:
    """A call that waits for a worker: nothing has been decided and nothing charged yet."""
    return {
        "id": id_,
        "model": standing.model,
        "outcome": "waiting",
        "place": standing.place,
        "eta": round(standing.eta_s * 1e3),
        "total_cost": 0,
        "attempts": [],
        "decision": [],
    }


def _generation(record: UsageRecord, provider: str | None) -> dict[str, Any]:
    prompt = record.prompt_tokens + record.cached_tokens
    completion = record.completion_tokens + record.reasoning_tokens
    hedged_ms = hedge_ms(record.attempts, record.worker_id, record.queue_ms)
    return {
        "id": record.request_id,
        "model": record.model,
        "provider_name": provider,
        "created_at": _time(record.created_at_ms),
        "streamed": record.streamed,
        "cancelled": record.outcome == Outcome.CLIENT_GONE,
        "outcome": record.outcome,
        "status": record.http_status,
        "error": record.error or None,
        "finish_reason": record.finish_reason or None,
        "asked": record.asked or None,
        "why": record.why or None,
        "masked": record.masked or None,
        "guarded": record.guarded or None,
        "app": record.app or None,
        "app_title": record.app_title or None,
        "place": record.place or None,
        "eta": record.eta_ms if record.place else None,
        "latency": record.ttft_ms,
        "queue_time": record.queue_ms - hedged_ms,
        "hedge_time": hedged_ms,
        "generation_time": record.upstream_ms,
        "total_time": record.total_ms,
        "tokens_prompt": prompt,
        "tokens_completion": completion,
        "native_tokens_cached": record.cached_tokens,
        "native_tokens_reasoning": record.reasoning_tokens,
        "rows": record.rows,
        "price_id": record.price_id,
        "price_class": record.price_class,
        "held": _usd(record.hold_nano),
        "total_cost": _usd(record.charge_nano),
        "attempts": [
            {
                "endpoint_id": f"{attempt.deployment_id}@{attempt.worker_id}",
                "pool": attempt.pool,
                "status": attempt.outcome,
                "queue_time": attempt.queue_ms,
                "latency": attempt.upstream_ms,
            }
            for attempt in record.attempts
        ],
        "decision": record.candidates.listed(),
    }


def _left(budget: BudgetState) -> Raw:
    """What is left of a budget. Credit held for running calls is not spent yet."""
    return _usd(max(budget.limit_nano - budget.spent_nano, 0))


def _usd(nano: int) -> Raw:
    return Raw(format_usd(nano).encode())


def _time(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1e3, UTC).isoformat(timespec="milliseconds")

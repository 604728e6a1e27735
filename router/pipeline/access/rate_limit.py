"""Limits of keys, organisations, models and end users: requests and tokens a minute, dollars a day,
and calls at once.

A rate is a token bucket that holds the worth of its period and refills all the time. A call is
charged by the size of its prompt and by what is held for it when it is admitted, and by its real
usage and charge when it ends. The bucket may go into debt, and later calls wait for it: no call is
refused because its answer might be long.

All routers share each limit. Its parts are leased as worker slots are
(:mod:`router.pipeline.fleet.cluster`): ``PARTS`` of each bucket, and each of the calls at once.
Together the routers never refill more than the limit, and each may hold at least one unit. A router
that first hears of a key asks for its part before it answers. It begins with an empty bucket if
another router already serves that key.
"""

from collections.abc import Awaitable, Callable, Mapping
from math import ceil

from router.domain.catalog import Limit, RateLimits
from router.domain.errors import RateLimited
from router.domain.money import format_usd

MINUTE_S = 60.0
DAY_S = 86_400.0
METERS_MAX = 10_000
"""How many limits a router counts apart. Beyond, new end users of a rule count together."""
PARTS = 1_000
"""How many parts of a rate the routers share out."""
DEMAND_MEMORY = 0.5
"""The share of a beat's demand that still counts at the next beat."""
NO_SHARE_S = 1.0
"""The ``Retry-After`` of a router without a part of a limit: by then it should have one."""
RATE = "rate:"
CALLS = "calls:"

Headers = tuple[tuple[str, str], ...]


class Bucket:
    """A token bucket of ``limit`` in ``period_s``; this router has ``share`` of it."""

    __slots__ = ("_refilled_s", "level", "limit", "period_s", "share")

    def __init__(
        self, limit: int, share: float, level: float, now_s: float, period_s: float = MINUTE_S
    ) -> None:
        self.limit = limit
        self.period_s = period_s
        self.share = share
        self.level = level
        self._refilled_s = now_s

    @property
    def capacity(self) -> float:
        """A period's worth of this router's share, at least one unit."""
        return max(self.limit * self.share, 1.0)

    @property
    def is_full(self) -> bool:
        """Whether the bucket is full."""
        return self.level >= self.capacity

    def refill(self, now_s: float) -> None:
        """Add what has come since the last refill."""
        added = self.limit * self.share / self.period_s * (now_s - self._refilled_s)
        self.level = min(self.level + added, self.capacity)
        self._refilled_s = now_s

    def wait_s(self, amount: float) -> float:
        """Seconds until ``amount`` is there, at most until the bucket is full; 0 if it is there."""
        missing = min(amount, self.capacity) - self.level
        if missing <= 0:
            return 0.0
        return missing * self.period_s / (self.limit * self.share) if self.share else NO_SHARE_S

    def set_share(self, share: float, now_s: float) -> None:
        """Use another share from now on. A larger bucket fills over time, not at once."""
        self.refill(now_s)
        self.share = share
        self.level = min(self.level, self.capacity)


class Meter:
    """What the calls of one scope have used on this router."""

    __slots__ = (
        "_share",
        "calls_share",
        "demand",
        "is_new",
        "limits",
        "requests",
        "running",
        "spend",
        "tokens",
    )

    def __init__(self, limits: RateLimits, share: float, now_s: float) -> None:
        self.running = 0
        self.demand = 0.0
        self.is_new = share == 0
        self._share = share
        self.calls_share = 0
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.spend: Bucket | None = None
        self.limits = RateLimits()
        self.use(limits, now_s)

    def use(self, limits: RateLimits, now_s: float) -> None:
        """Use changed limits: begin with full buckets of the new size."""
        before, self.limits = self.limits, limits
        if limits.requests_per_minute != before.requests_per_minute:
            self.requests = self._bucket(limits.requests_per_minute, now_s)
        if limits.tokens_per_minute != before.tokens_per_minute:
            self.tokens = self._bucket(limits.tokens_per_minute, now_s)
        if limits.nano_per_day != before.nano_per_day:
            self.spend = self._bucket(limits.nano_per_day, now_s, DAY_S)
        if limits.calls_at_once != before.calls_at_once:
            self.calls_share = int(limits.calls_at_once * self._share)

    def set_share(self, share: float, calls_share: int, now_s: float, *, is_full: bool) -> None:
        """Use another part from now on. ``is_full`` says that no other router used the limit."""
        self._share, self.calls_share = share, calls_share
        for bucket in (self.requests, self.tokens, self.spend):
            if bucket is not None:
                bucket.set_share(share, now_s)
                if self.is_new and is_full:
                    bucket.level = bucket.capacity
        self.is_new = False

    def is_idle(self, now_s: float) -> bool:
        """Whether this meter can be forgotten without a change."""
        for bucket in (self.requests, self.tokens, self.spend):
            if bucket is not None:
                bucket.refill(now_s)
                if not bucket.is_full:
                    return False
        return not self.running

    def _bucket(self, limit: int, now_s: float, period_s: float = MINUTE_S) -> Bucket | None:
        if not limit:
            return None
        return Bucket(limit, self._share, limit * self._share, now_s, period_s)


class Permit:
    """Permission for a call to run under limits."""

    __slots__ = ("_ended", "_meters", "_nano", "_tokens")

    def __init__(self, meters: tuple[Meter, ...] = (), tokens: int = 0, nano: int = 0) -> None:
        self._meters = meters
        self._tokens = tokens
        self._nano = nano
        self._ended = not meters

    def end(self, tokens: int, nano: int = 0) -> None:
        """The call is over, has used so many tokens and cost so much. A second one does nothing."""
        if self._ended:
            return
        self._ended = True
        for meter in self._meters:
            meter.running -= 1
            if meter.tokens is not None:
                meter.tokens.level += self._tokens - tokens
            if meter.spend is not None:
                meter.spend.level += self._nano - nano

    def headers(self) -> Headers:
        """``x-ratelimit-*`` headers of the tightest limits, as OpenAI's clients know them."""
        if not self._meters:
            return ()
        requests = [meter.requests for meter in self._meters if meter.requests is not None]
        tokens = [meter.tokens for meter in self._meters if meter.tokens is not None]
        return (*_headers("requests", requests), *_headers("tokens", tokens))


NO_PERMIT = Permit()
"""The permit of a call without limits."""


class RateLimiter:
    """The limits of one router. ``clock`` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._meters: dict[str, Meter] = {}
        self.routers = 1
        """How many routers share every limit."""
        self.join: Callable[[], Awaitable[None]] | None = None
        """Asks the other routers for a part; None when there are none."""

    async def admit(self, limits: tuple[Limit, ...], tokens: int, nano: int = 0) -> Permit:
        """Let a call run of about ``tokens``, for which ``nano`` USD are held.

        Raises ``RateLimited`` and then charges nothing.
        """
        meters = tuple([self._meter(limit) for limit in limits])
        for meter in meters:
            meter.demand += 1
        if self.join is not None and any(meter.is_new for meter in meters):
            await self.join()
            self._without_others(meters)
        now_s = self._clock()
        for limit, meter in zip(limits, meters, strict=True):
            self._check(limit, meter, tokens, now_s)
        for meter in meters:
            meter.running += 1
            if meter.requests is not None:
                meter.requests.level -= 1
            if meter.tokens is not None:
                meter.tokens.level -= tokens
            if meter.spend is not None:
                meter.spend.level -= nano
        return Permit(meters, tokens, nano)

    def demands(self) -> dict[str, float]:
        """The recent demand for each limit here, by the id under which its parts are leased."""
        now_s = self._clock()
        for scope in [s for s, meter in self._meters.items() if _is_forgotten(meter, now_s)]:
            del self._meters[scope]
        demands: dict[str, float] = {}
        for scope, meter in self._meters.items():
            demands[RATE + scope] = meter.demand
            demands[CALLS + scope] = meter.running + meter.demand
            meter.demand *= DEMAND_MEMORY
        return demands

    def leasable(self) -> dict[str, tuple[int, int]]:
        """By the same ids: how many parts there are, and how many are in use here."""
        parts: dict[str, tuple[int, int]] = {}
        for scope, meter in self._meters.items():
            parts[RATE + scope] = (PARTS, 0)
            if meter.limits.calls_at_once:
                parts[CALLS + scope] = (meter.limits.calls_at_once, meter.running)
        return parts

    def lease(self, granted: Mapping[str, int], others: frozenset[str]) -> None:
        """Use these parts. ``others`` are the ids that other routers have a demand for."""
        now_s = self._clock()
        for scope, meter in self._meters.items():
            parts = granted.get(RATE + scope)
            if parts is not None:
                calls = granted.get(CALLS + scope, 0)
                meter.set_share(parts / PARTS, calls, now_s, is_full=RATE + scope not in others)

    def _meter(self, limit: Limit) -> Meter:
        scope = limit.scope
        meter = self._meters.get(scope)
        if meter is None and limit.pooled and len(self._meters) >= METERS_MAX:
            scope = limit.pooled
            meter = self._meters.get(scope)
        if meter is None:
            share = 1.0 if self.routers == 1 else 0.0
            meter = self._meters[scope] = Meter(limit.limits, share, self._clock())
        elif meter.limits is not limit.limits:
            meter.use(limit.limits, self._clock())
        return meter

    def _without_others(self, meters: tuple[Meter, ...]) -> None:
        """The database is away, so the other routers cannot be asked: take an equal part."""
        for meter in meters:
            if meter.is_new:
                calls = ceil(meter.limits.calls_at_once / self.routers)
                meter.set_share(1 / self.routers, calls, self._clock(), is_full=True)

    def _check(self, limit: Limit, meter: Meter, tokens: int, now_s: float) -> None:
        limits = meter.limits
        if limits.calls_at_once and meter.running >= meter.calls_share:
            raise _refused(limit, f"{limits.calls_at_once} calls at once", NO_SHARE_S, meter)
        for bucket, amount, what in (
            (meter.requests, 1, "requests a minute"),
            (meter.tokens, tokens, "tokens a minute"),
            # What is left is enough to begin: what a call may cost is far from what it will.
            (meter.spend, 1, "a day"),
        ):
            if bucket is not None:
                bucket.refill(now_s)
                wait_s = bucket.wait_s(amount)
                if wait_s:
                    is_money = bucket is meter.spend
                    most = f"${format_usd(bucket.limit)}" if is_money else str(bucket.limit)
                    raise _refused(limit, f"{most} {what}", wait_s, meter)


def _is_forgotten(meter: Meter, now_s: float) -> bool:
    return meter.demand < DEMAND_MEMORY**8 and meter.is_idle(now_s)


def _refused(limit: Limit, what: str, retry_after_s: float, meter: Meter) -> RateLimited:
    return RateLimited(
        f"{limit.whose} limited to {what}; try again in {max(retry_after_s, 0.1):.1f} s",
        retry_after_s=ceil(retry_after_s),
        headers=Permit((meter,)).headers(),
    )


def _headers(what: str, buckets: list[Bucket]) -> Headers:
    if not buckets:
        return ()
    tightest = min(buckets, key=lambda bucket: bucket.level)
    full_s = tightest.wait_s(tightest.capacity)
    return (
        (f"x-ratelimit-limit-{what}", str(tightest.limit)),
        (f"x-ratelimit-remaining-{what}", str(max(int(tightest.level), 0))),
        (f"x-ratelimit-reset-{what}", f"{full_s:.3f}s"),
    )

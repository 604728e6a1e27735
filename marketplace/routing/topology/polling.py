"""Polls every router's state, all at once and at most once in ``REFRESH_S``.

The admin token stays on the server. Routers are found by their membership rows. All pages of a
process share one reading: a hundred open pages cost the routers as much as one.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import msgspec
from django.conf import settings
from django.db import connection

from marketplace.routing.topology.contracts import ModelState, RouterState

REFRESH_S = 0.9
"""How long a reading is reused before routers are asked again."""

TIMEOUT_S = 1.0
ROUTERS_MAX = 32
"""Routers asked at most; further ones are listed without state."""

STATE_BYTES_MAX = 8 * 1024 * 1024
KEPT_S = 120.0
"""How long the last state of a silent router is shown, as stale."""

RATE_OVER_S = 10.0
RATE_MIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Member:
    """A router's row: ``beats`` while its membership holds."""

    router_id: str
    url: str
    beats: bool


@dataclass(frozen=True, slots=True)
class Rate:
    """Ended and failed calls a second."""

    ended_hz: float
    failed_hz: float


@dataclass(frozen=True, slots=True)
class Heard:
    """The known state of one router: its age, and the ``error`` of the latest request, if any.

    ``rates`` are by model, None until the router has answered twice.
    """

    member: Member
    state: RouterState | None
    age_s: float
    error: str = ""
    rates: dict[str, Rate] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Every router at one moment; ``taken_at`` is Unix seconds."""

    heard: tuple[Heard, ...]
    taken_at: float


Fetch = Callable[[Member], RouterState]


class Unheard(Exception):
    """A router's state could not be read; the message says why, for people."""


def members_known() -> list[Member]:
    """All routers in the membership table, by id, including expired ones."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT router_id, url, expires_at > clock_timestamp() FROM routing_router ORDER BY 1"
        )
        return [Member(*row) for row in cursor.fetchall()]


def state_fetch(member: Member) -> RouterState:
    """Ask one router. Raises :class:`Unheard`."""
    if not settings.ROUTER_ADMIN_TOKEN:
        raise Unheard("ROUTER_ADMIN_TOKEN is not set for the pages: set it to the routers' own")
    headers = {"Authorization": f"Bearer {settings.ROUTER_ADMIN_TOKEN}"}
    url = f"{member.url.rstrip('/')}/admin/state"
    try:
        response = httpx.get(url, headers=headers, timeout=TIMEOUT_S, trust_env=False)
        response.raise_for_status()
        if len(response.content) > STATE_BYTES_MAX:
            raise Unheard(f"it said {len(response.content)} bytes, over {STATE_BYTES_MAX}")
        return msgspec.json.decode(response.content, type=RouterState)
    except httpx.HTTPStatusError as error:
        raise Unheard(f"it answered {error.response.status_code}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unheard(f"no answer within {TIMEOUT_S:g} s ({type(error).__name__})") from error
    except msgspec.MsgspecError as error:
        raise Unheard(f"what it said cannot be read: {error}") from error


@dataclass(slots=True)
class _Memory:
    """One router's last state, and its counts of the last seconds."""

    state: RouterState
    at_s: float
    counts: deque[tuple[float, RouterState]] = field(default_factory=deque)


class Watch:
    """Polls as the module says. ``clock`` is monotonic seconds, ``wall`` Unix seconds."""

    def __init__(
        self,
        *,
        members: Callable[[], Sequence[Member]] = members_known,
        fetch: Fetch = state_fetch,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._members = members
        self._fetch = fetch
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._memory: dict[str, _Memory] = {}
        self._reading: Reading | None = None
        self._read_s = 0.0

    def read(self) -> Reading:
        """The last reading, or a new one if it is older than ``REFRESH_S``.

        While one thread asks, the others use the last reading instead of waiting for a slow router.
        """
        held = self._reading
        if held is not None and self._clock() - self._read_s < REFRESH_S:
            return held
        if not self._lock.acquire(blocking=held is None):
            return held or self.read()
        try:
            if self._reading is None or self._clock() - self._read_s >= REFRESH_S:
                self._reading = self._ask_all()
                self._read_s = self._clock()
            return self._reading
        finally:
            self._lock.release()

    def _ask_all(self) -> Reading:
        members = list(self._members())
        asked, left = members[:ROUTERS_MAX], members[ROUTERS_MAX:]
        if asked:
            with ThreadPoolExecutor(len(asked), "topology") as threads:
                answers = list(threads.map(self._ask, asked))
        else:
            answers = []
        now_s = self._clock()
        heard = [self._take_in(m, a, now_s) for m, a in zip(asked, answers, strict=True)]
        heard += [
            Heard(member, None, 0.0, f"only {ROUTERS_MAX} routers are asked") for member in left
        ]
        known = {member.router_id for member in members}
        self._memory = {id_: memory for id_, memory in self._memory.items() if id_ in known}
        return Reading(tuple(heard), self._wall())

    def _ask(self, member: Member) -> RouterState | Unheard:
        try:
            return self._fetch(member)
        except Unheard as error:
            return error

    def _take_in(self, member: Member, answer: RouterState | Unheard, now_s: float) -> Heard:
        known = self._memory.get(member.router_id)
        if isinstance(answer, Unheard):
            if known is None or now_s - known.at_s > KEPT_S:
                self._memory.pop(member.router_id, None)
                return Heard(member, None, 0.0, str(answer))
            return Heard(member, known.state, now_s - known.at_s, str(answer))
        if known is None:
            known = self._memory[member.router_id] = _Memory(answer, now_s)
        known.state, known.at_s = answer, now_s
        return Heard(member, answer, 0.0, "", _rates(known.counts, answer, now_s))


def _rates(
    counts: deque[tuple[float, RouterState]], state: RouterState, now_s: float
) -> dict[str, Rate] | None:
    """Rates by model over the last ``RATE_OVER_S``; adds ``state`` to ``counts``."""
    if counts and any(
        state.models[name].ended < old.ended
        for name, old in counts[-1][1].models.items()
        if name in state.models
    ):
        counts.clear()  # The router restarted and counts from zero.
    while len(counts) > 1 and now_s - counts[1][0] >= RATE_OVER_S:
        counts.popleft()
    counts.append((now_s, state))
    then_s, then = counts[0]
    if now_s - then_s < RATE_MIN_S:
        return None
    return {name: _rate(then, model, name, now_s - then_s) for name, model in state.models.items()}


def _rate(then: RouterState, now: ModelState, name: str, span_s: float) -> Rate:
    old = then.models.get(name)
    ended, failed = (old.ended, old.failed) if old else (0, 0)
    return Rate((now.ended - ended) / span_s, (now.failed - failed) / span_s)


WATCH = Watch()
"""Shared by every page and call of this process."""

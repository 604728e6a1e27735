"""What the scheduler asks of a worker, whatever its kind.

There are two kinds of workers. On slots, a request has its own place or waits for one
(:mod:`router.scheduling.worker_models.slots`). An engine is shared by all its requests
(:mod:`router.scheduling.worker_models.engines`). Each kind answers the same questions in three
small parts:

1. A worker's model says whether there is room, and when there will be.
2. An endpoint's model says what a request takes there, and what it costs other requests there.
3. A run is one attempt from its dispatch to its end. The other two learn from it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sized
from math import inf
from typing import ClassVar

from router.contracts.engines.engine_report import EngineReport
from router.contracts.word import Load
from router.scheduling.ticket import Ticket, Used
from router.scheduling.worker_models.costs import Costs
from router.scheduling.worker_models.service import Looking, Service

Rates = tuple[float, float, float, float, float]
"""What a generation costs, itself and the others there, in seconds: in any case, for each token of
its prompt, for each of its answer, and for each pair of both. Last, the tokens of the longest
prompt that costs no more than this.
"""

NOT_BY_TOKENS: Rates = (0.0, 0.0, 0.0, 0.0, -inf)
"""The rates where tokens do not say what a generation costs: they hold for no prompt."""


class Run(ABC):
    """One attempt, as the model of its worker sees it.

    ``started_s`` is when the worker is assumed to have begun: at dispatch, or when the work ahead
    of it there ended (``waiting`` until then).
    """

    __slots__ = ("started_s", "waiting")

    started_s: float
    waiting: bool

    @property
    @abstractmethod
    def expected_s(self) -> float:
        """Expected seconds of service."""

    @property
    def expected_first_s(self) -> float:
        """Expected seconds to the first token, or to the end if no more is known."""
        return self.expected_s

    @abstractmethod
    def first(self, now_s: float) -> None:
        """The beginning of its answer came."""

    @abstractmethod
    def heard(self, tokens: int, now_s: float) -> None:
        """``tokens`` more tokens of its answer came."""

    @abstractmethod
    def end(self, now_s: float) -> None:
        """It has left the worker, well or not."""

    @abstractmethod
    def learn(self, used: Used | None, now_s: float, *, silent: bool) -> float:
        """It has ended well: learn how fast its worker is. ``silent`` means that nothing had been
        heard of the worker for a while. Returns the request's units of work, 0 if unknown.
        """

    @abstractmethod
    def outrun(self, now_s: float) -> None:
        """It was stopped because another attempt had answered."""


class EndpointModel(ABC):
    """What a request takes on one endpoint (a deployment on a worker).

    ``effective_s`` is seconds per unit of work for one more request now.
    """

    __slots__ = ("effective_s", "pace", "rates")

    keeps_prompts: ClassVar[bool]
    """Whether it need not compute the beginning of a prompt again that it was sent before."""
    effective_s: float
    pace: float | Costs
    """What the record of a placed generation keeps: :attr:`effective_s`, or all the costs of a
    generation where requests share the worker.
    """
    rates: Rates
    """What :meth:`cost_s` of a generation is made of, if it goes by tokens."""

    @abstractmethod
    def work(self, ticket: Ticket) -> float:
        """How much of a worker a request takes up, where a mean request is 1."""

    @abstractmethod
    def service_s(self, ticket: Ticket) -> float:
        """Seconds that a request takes here from its beginning to its end."""

    @abstractmethod
    def cost_s(self, ticket: Ticket) -> float:
        """:meth:`service_s`, plus what the request adds to all others that run here."""

    @abstractmethod
    def saved_s(self, cached_tokens: float) -> float:
        """By how much that is less if this much of the prompt is cached here."""

    @abstractmethod
    def begin(self, ticket: Ticket, work: float, cached_tokens: float, now_s: float) -> Run:
        """A request of ``work`` units is sent here."""

    @abstractmethod
    def probed(self, service_s: float) -> float:
        """A probe ended well: learn, and return how many times longer than usual it took."""

    @abstractmethod
    def retire(self) -> None:
        """The endpoint is gone; the others of its deployment are judged without it."""


class WorkerModel(Looking, ABC):
    """When a worker has room.

    ``limit`` is how many requests it is sent at once. ``available_s`` is when it is expected to
    have room for one more (0 = now). ``planned_s`` is the same once the requests waiting ahead are
    placed. Both are absolute, and hold until ``recheck_s`` or the worker's next event.
    """

    __slots__ = ("available_s", "limit", "planned_s")

    limit: int
    available_s: float
    planned_s: float

    @property
    @abstractmethod
    def has_room(self) -> bool:
        """Whether it may get one more request."""

    @abstractmethod
    def waited_for(self, is_waited_for: bool, *, is_overload: bool = False) -> None:
        """Whether requests wait in the router for workers, and more than can be served in time."""

    @abstractmethod
    def own_load(self, now_s: float) -> Load | None:
        """The load of this router there, to tell other routers; None where slots are leased."""

    @abstractmethod
    def others_load(self, others: Load, now_s: float) -> None:
        """The mean load of other routers there."""

    @abstractmethod
    def reported(self, report: EngineReport | None, now_s: float) -> None:
        """What it says of itself; None if it does not say."""

    @abstractmethod
    def look(self, now_s: float) -> None:
        """Work all of this out for now, and how fast each endpoint is expected to be."""

    @abstractmethod
    def plan(self, service_s: float, now_s: float) -> None:
        """Book the earliest room for a request that stays queued."""

    @abstractmethod
    def unplan(self) -> None:
        """Forget all bookings."""

    @abstractmethod
    def endpoint(self, service: Service) -> EndpointModel:
        """The model of one of its endpoints."""

    @abstractmethod
    def set_endpoints(self, endpoints: Iterable[EndpointModel]) -> None:
        """Set the worker's endpoints."""

    @abstractmethod
    def bounds_changed(self) -> None:
        """Its :class:`Bounds` have changed."""


class Bounds:
    """The bounds on the requests of a worker, whatever its model.

    It is ``configured`` to run this many at once, and this router holds ``slots`` of those.
    ``trusted`` is how many of them it may have after a failure. ``credit`` is how many more a
    healthy worker is sent, so that it does not idle for a round trip. It wants nothing before
    ``resting_until_s``. ``inflight`` holds its requests.
    """

    __slots__ = ("configured", "credit", "inflight", "resting_until_s", "slots", "trusted")

    def __init__(self, slots: int, inflight: Sized) -> None:
        self.configured = self.slots = self.trusted = slots
        self.credit = 1
        self.resting_until_s = 0.0
        self.inflight = inflight

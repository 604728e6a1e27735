"""What the scheduler asks of a worker, whatever kind it is.

Workers are of two kinds: on slots a request has a place of its own or waits for one
(:mod:`router.scheduling.slots`), an engine is shared by all that it works on
(:mod:`router.scheduling.engines`). Each kind answers the same questions in three small parts: a
worker's model says whether there is room and when there will be, an endpoint's what a request takes
there and what it costs those that run there already, and a run is one attempt from its dispatch to
its end, from which all of them learn.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sized
from typing import ClassVar

from router.contracts.word import Load
from router.scheduling.costs import Costs
from router.scheduling.service import Looking, Service
from router.scheduling.ticket import Ticket, Used


class Run(ABC):
    """One attempt, as the model of its worker sees it.

    ``started_s`` is when the worker is thought to have begun: dispatch, or the moment when the work
    ahead of it there ended (``waiting`` until then).
    """

    __slots__ = ("started_s", "waiting")

    started_s: float
    waiting: bool

    @property
    @abstractmethod
    def expected_s(self) -> float:
        """Seconds of service that it should take."""

    @property
    def expected_first_s(self) -> float:
        """Seconds to the first of its answer; those of all of it where nothing says more."""
        return self.expected_s

    @abstractmethod
    def first(self, now_s: float) -> None:
        """The first of its answer came."""

    @abstractmethod
    def heard(self, tokens: int, now_s: float) -> None:
        """So many more tokens of its answer came."""

    @abstractmethod
    def end(self, now_s: float) -> None:
        """It has left the worker, well or not."""

    @abstractmethod
    def learn(self, used: Used | None, now_s: float, *, silent: bool) -> float:
        """It has ended well: learn how fast its worker is, of which nothing had been heard for a
        while if ``silent``. What the request was worth in units of work; 0 if that says nothing.
        """

    @abstractmethod
    def outrun(self, now_s: float) -> None:
        """It was stopped because another attempt had answered."""


class EndpointModel(ABC):
    """What a request takes on one endpoint: a deployment on a worker.

    ``effective_s`` is seconds per unit of work for one more request now.
    """

    __slots__ = ("effective_s",)

    keeps_prompts: ClassVar[bool]
    """Whether it need not compute the beginning of a prompt anew that it was sent before."""
    effective_s: float

    @property
    @abstractmethod
    def pace(self) -> float | Costs:
        """What the record of a generation's placing keeps: :attr:`effective_s`, or where requests
        share the worker all that one costs.
        """

    @abstractmethod
    def work(self, ticket: Ticket) -> float:
        """How much of a worker a request takes up, where a mean one is 1."""

    @abstractmethod
    def service_s(self, ticket: Ticket) -> float:
        """Seconds that a request takes here once it may begin, to its end."""

    @abstractmethod
    def cost_s(self, ticket: Ticket) -> float:
        """:meth:`service_s`, and what it adds to all others that run here."""

    @abstractmethod
    def saved_s(self, cached_tokens: float) -> float:
        """How much less that is when so much of the prompt is here already."""

    @abstractmethod
    def begin(self, ticket: Ticket, work: float, cached_tokens: float, now_s: float) -> Run:
        """A request of ``work`` units is sent here."""

    @abstractmethod
    def probed(self, service_s: float) -> float:
        """A probe ended well: learn, and say how many times longer than usual it took."""

    @abstractmethod
    def retire(self) -> None:
        """The endpoint is gone: the others of its deployment are judged without it."""


class WorkerModel(Looking, ABC):
    """When a worker has room.

    ``limit`` is how many requests it is sent at once. ``available_s`` is when there is room for one
    more (0 = now), as far as can be expected, and ``planned_s`` the same after what waits ahead has
    been placed; both are absolute. They hold until ``recheck_s`` or the worker's next event.
    """

    __slots__ = ("available_s", "limit", "planned_s")

    limit: int
    available_s: float
    planned_s: float

    @property
    @abstractmethod
    def has_room(self) -> bool:
        """Whether it may be sent one more."""

    @abstractmethod
    def waited_for(self, is_waited_for: bool) -> None:
        """Whether requests wait in the router for workers."""

    @abstractmethod
    def own_load(self, now_s: float) -> Load | None:
        """What this router has there, for the others to know; None where slots are leased."""

    @abstractmethod
    def others_load(self, others: Load, now_s: float) -> None:
        """What the others have there, on average."""

    @abstractmethod
    def reported(self, requests: float | None, now_s: float) -> None:
        """How many requests it has by its own count; None when it does not say."""

    @abstractmethod
    def look(self, now_s: float) -> None:
        """Work all of this out for now, and how fast each endpoint is taken to be."""

    @abstractmethod
    def plan(self, service_s: float, now_s: float) -> None:
        """Book the earliest room for a request that stays queued."""

    @abstractmethod
    def unplan(self) -> None:
        """Forget what was booked."""

    @abstractmethod
    def endpoint(self, service: Service) -> EndpointModel:
        """The model of one of its endpoints."""

    @abstractmethod
    def serves(self, endpoints: Iterable[EndpointModel]) -> None:
        """These are the worker's endpoints from now on."""

    @abstractmethod
    def bounds_changed(self) -> None:
        """Its :class:`Bounds` are not what they were."""


class Bounds:
    """What bounds the requests on a worker, whatever model it has.

    It was ``told`` to run so many at once, of which this router holds ``slots``; ``trusted`` is how
    many of those a worker that has failed may have, ``credit`` how many more a well one is sent,
    so that it does not idle for a round trip. It wants nothing before ``resting_until_s``, and
    ``inflight`` counts what it has.
    """

    __slots__ = ("credit", "inflight", "resting_until_s", "slots", "told", "trusted")

    def __init__(self, slots: int, inflight: Sized) -> None:
        self.told = self.slots = self.trusted = slots
        self.credit = 1
        self.resting_until_s = 0.0
        self.inflight = inflight

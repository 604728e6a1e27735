"""What the line needs from the outside world. Adapters implement these; fakes ship beside them."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from router.contracts.engine_report import EngineReport
from router.contracts.learned import KeptLearned
from router.contracts.record import UsageRecord
from router.contracts.snapshot import Snapshot
from router.contracts.word import SILENT, Word
from router.domain.catalog import Endpoint, Worker
from router.domain.money import Purse
from router.domain.pricing import Usage
from router.domain.request import InferenceRequest


class Taken(Exception):
    """Another router has what only one may have. The message says what, and what would be right."""


class Answer(Struct, frozen=True, gc=False):
    """A whole answer. ``usage`` is None when the worker did not say.

    ``own_tokens`` is what the router takes its text for, None where it has not looked.
    """

    body: bytes
    content_type: str
    usage: Usage | None
    finish_reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    own_tokens: int | None = None


class StreamPart(Struct, frozen=True, gc=False):
    """Some whole server-sent events, ready to be forwarded as they are.

    ``tokens`` counts the content-bearing events in it. ``usage`` and ``finish_reason`` come with
    the part that carried them. ``done`` marks the last one: the worker said ``[DONE]``, which is
    not among ``chunk``'s events.
    """

    chunk: bytes
    tokens: int
    usage: Usage | None = None
    finish_reason: str = ""
    done: bool = False


class UpstreamFailed(Exception):
    """A worker did not answer as it should. ``reason`` is a low-cardinality word.

    Another worker may be tried. ``is_fault`` is False when the worker is sound but not for this
    call (it is full, or does not serve this path): that must not count towards its ejection.
    ``retry_after_s`` is how long a worker that is full asks to be left alone.
    """

    def __init__(
        self, reason: str, detail: str = "", *, is_fault: bool = True, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.is_fault = is_fault
        self.retry_after_s = retry_after_s

    @property
    def is_answer(self) -> bool:
        """Whether the worker lives and said something, be it wrong: that may be the request's
        doing.
        """
        return self.reason.startswith(ANSWERED)


ANSWERED = ("http_", "grpc_", "error_", "bad_json", "bad_event", "bad_tensors", "no_choices")


class UpstreamRefused(Exception):
    """A worker found the request itself wrong (4xx): another worker would say the same.

    ``code`` and ``param`` are the worker's own, where it has them.
    """

    def __init__(
        self, status: int, message: str, *, code: str = "", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param


class Upstream(Protocol):
    """How workers of one protocol are spoken to.

    Both methods raise :class:`UpstreamFailed` or :class:`UpstreamRefused`. Cancelling the caller,
    or closing the iterator, closes the connection, which is how a worker learns to stop.
    """

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        """Call the worker and return its whole answer."""
        ...

    def stream(
        self, request: InferenceRequest, endpoint: Endpoint
    ) -> AsyncGenerator[StreamPart, None]:
        """Call the worker and yield its answer as it comes."""
        ...

    async def probe(self, endpoint: Endpoint) -> None:
        """Make the smallest call that shows whether the endpoint works, and how fast."""
        ...


class EngineReports(Protocol):
    """Where engines are asked what they have."""

    async def report(self, worker: Worker) -> EngineReport:
        """Raises :class:`UpstreamFailed` or ``ValueError`` for what is no report."""
        ...


class SnapshotSource(Protocol):
    """Where snapshots come from."""

    def snapshots(self) -> AsyncIterator[Snapshot | None]:
        """Yield the current snapshot at once, then each newer one; never ends by itself.

        None in between says that the last one is still the newest.
        """
        ...


class LearnedStore(Protocol):
    """Where what was learned of workers outlives the router. Blocking; raises ``OSError``."""

    def load(self) -> KeptLearned | None:
        """What was kept; None when nothing was. Raises ``ValueError`` when it is damaged."""
        ...

    def save(self, kept: KeptLearned) -> None:
        """Keep this instead, whole or not at all."""
        ...


class LeaseGrant(Struct, frozen=True, gc=False):
    """A slice of an account's credit, reserved for this router. Seconds are Unix time."""

    id: str
    purse: Purse
    amount_nano: int
    expires_at_s: float


class Shortage(Struct, frozen=True, gc=False):
    """Why a lease was not given: what an account or a budget has left does not suffice.

    ``budget_id`` is 0 when it is the account itself. ``leased_nano`` is what open leases hold of it
    at this moment, part of which may come back. ``stranded_nano`` is what of that routers hold that
    are gone: how much of it is spent is not known before their journals are settled.
    """

    budget_id: int
    left_nano: int
    leased_nano: int
    stranded_nano: int = 0


class LeaseBank(Protocol):
    """Where slices of credit come from. Raises ``LedgerUnavailable`` when it cannot say.

    A lease belongs to one life of one router: a restarted router closes those of its earlier lives.
    """

    async def take(
        self, lease_id: str, purse: Purse, need_nano: int, want_nano: int
    ) -> LeaseGrant | Shortage:
        """Reserve ``want_nano`` if possible, at least ``need_nano``, under a new id.

        More than the need only up to an even part among the routers. When funds lack, every router
        is told to give back what it does not use (:meth:`recalls`).
        """
        ...

    async def grow(self, lease_id: str, need_nano: int, want_nano: int) -> int | Shortage:
        """How much more a lease has from now on, reserved as by :meth:`take`. A need is above 0."""
        ...

    async def shrink(self, lease_id: str, amount_nano: int) -> None:
        """Keep at most ``amount_nano`` of a lease; the rest is free again. Safe to repeat."""
        ...

    async def extend(self, lease_id: str) -> float:
        """Have a lease for its whole time again; the Unix seconds at which that ends."""
        ...

    async def close(self, lease_id: str) -> None:
        """Give back what a lease has not spent. Closing an unknown one changes nothing."""
        ...

    async def close_earlier(self) -> None:
        """Give back every open lease of this router's earlier lives.

        Raises ``LedgerUnavailable`` while it is not sure that these are over.
        """
        ...

    def recalls(self) -> AsyncIterator[int]:
        """The accounts whose idle credit is needed elsewhere; never ends by itself.

        Raises :class:`Taken` when another router of the same name runs.
        """
        ...


class AppendFile(Protocol):
    """A file that only grows. Everything raises ``OSError``."""

    def append(self, data: bytes) -> int:
        """Write at the end; how many bytes were written. They survive the death of the process."""
        ...

    def sync(self) -> None:
        """Make everything written survive a power loss."""
        ...

    def close(self) -> None:
        """No more is written."""
        ...


class Disk(Protocol):
    """One folder of files, of one process. Everything raises ``OSError``."""

    def names(self) -> list[str]:
        """The files there are, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """All of a file."""
        ...

    def create(self, name: str) -> AppendFile:
        """A new, empty file."""
        ...

    def copy(self, name: str, to: str) -> None:
        """The same bytes under another name."""
        ...

    def delete(self, name: str) -> None:
        """A file that is not there is no error."""
        ...


class Member(Struct, frozen=True):
    """A router among several. ``demands`` are requests running and waiting, by worker id, ``word``
    is what it last said of engines.
    """

    router_id: str
    url: str
    demands: Mapping[str, float] = {}
    word: Word = SILENT


class SlotClaim(Struct, frozen=True, gc=False):
    """How many of a worker's slots a router asks for."""

    wanted: int
    slots: int


class Beat(Struct, frozen=True):
    """What a beat brings: who is there, and the slots leased until the time to live is over."""

    members: tuple[Member, ...]
    granted: Mapping[str, int]


class Cluster(Protocol):
    """Where routers meet. Raises ``LedgerUnavailable`` when it is away.

    The leases on one worker never add up to more than its slots.
    """

    async def beat(
        self,
        me: Member,
        ttl_s: float,
        demands: Mapping[str, float],
        claims: Mapping[str, SlotClaim],
        word: Word = SILENT,
    ) -> Beat:
        """Stay a member for ``ttl_s`` more, say a word to the others, and
        have leases for as many slots as are to be had.
        """
        ...

    async def leave(self, router_id: str) -> None:
        """Stop being a member and give the leases back."""
        ...


class Spending(Struct, frozen=True, gc=False):
    """Charges in nano-USD: of all time, and since the last midnight, Monday and first (UTC)."""

    total_nano: int = 0
    day_nano: int = 0
    week_nano: int = 0
    month_nano: int = 0


class BudgetState(Struct, frozen=True, gc=False):
    """How a cap on spending stands. ``window``: ``ever``, ``day``, ``week`` or ``month`` (UTC)."""

    limit_nano: int
    spent_nano: int
    window: str


class Books(Protocol):
    """What is settled. Raises ``LedgerUnavailable`` when it cannot say."""

    async def budget(self, budget_id: int) -> BudgetState | None:
        """A budget as it stands in the window of this moment."""
        ...

    async def posted_nano(self, account_id: int) -> int:
        """What an account has, held or not."""
        ...

    async def spent(self, organisation_id: int, key_id: int | None) -> Spending:
        """What an organisation's calls have cost; with ``key_id`` only those of one key."""
        ...

    async def call(self, request_id: str) -> UsageRecord | None:
        """A settled call by its id, which must be a UUID."""
        ...


class KeptAnswer(Struct, frozen=True, gc=False):
    """An answer as it went to a client."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class ClaimState(StrEnum):
    """What a claim on an idempotency key found."""

    NEW = "new"
    RUNNING = "running"
    OTHER = "other"
    """The key was used for another request."""
    DONE = "done"


class Claim(Struct, frozen=True, gc=False):
    """``answer`` comes with ``DONE``."""

    state: ClaimState
    answer: KeptAnswer | None = None


class Losses(Struct, frozen=True):
    """Money that may not have come to the ledger, for whoever has to look.

    ``refused_records`` were set aside since the start, ``set_aside_bytes`` lie there now, and
    ``damaged_segments`` of the journal had bytes at the start that are no record.
    """

    refused_records: int = 0
    set_aside_bytes: int = 0
    damaged_segments: int = 0


NO_LOSSES = Losses()


class Claimant(Struct, frozen=True, gc=False):
    """One call that wants a caller's key. ``token`` is its own: it fences off who came before."""

    scope: str
    key: str
    token: str


class IdempotencyStore(Protocol):
    """Answers by the caller's scope and key. Raises ``LedgerUnavailable`` when it is away."""

    async def claim(self, claimant: Claimant, fingerprint: str, ttl_s: float) -> Claim:
        """Take the key for a call that is about to run, unless another has it.

        Asked again by the call that has it, the claim is renewed; it is ``NEW`` as long as nobody
        else took the key over.
        """
        ...

    async def keep(self, claimant: Claimant, answer: KeptAnswer, ttl_s: float) -> None:
        """The call has this answer. Does nothing when the key is no longer its own."""
        ...

    async def forget(self, claimant: Claimant) -> None:
        """The call has none: another may run. Does nothing when the key is no longer its own."""
        ...


class Recorder(Protocol):
    """Where finished calls are kept until they are settled."""

    def admit(self) -> None:
        """Raises ``LedgerUnavailable`` when a finished call could not be kept."""
        ...

    def append(self, record: UsageRecord) -> None:
        """Keep one finished call. Never raises."""
        ...


class RecordRejected(Exception):
    """The ledger refuses a batch because of a record in it; trying again would not help."""


class RefusalCount(Struct, frozen=True, gc=False):
    """What is told apart of refused calls: whose, in which hour, of which model, and why."""

    organisation_id: int
    starts_at_ms: int
    key_id: int
    user_id: int
    model: str
    code: str


class RefusalSink(Protocol):
    """Where refused calls are counted. Raises ``LedgerUnavailable`` when it is away."""

    async def add_refusals(self, counted: Mapping[RefusalCount, int]) -> None:
        """Add to what is counted there."""
        ...


class RecordSink(Protocol):
    """Where finished calls are settled.

    Raises ``LedgerUnavailable`` when it is away and :class:`RecordRejected` when a record of the
    batch cannot be settled, in which case none of the batch was.
    """

    async def settle(self, records: Sequence[UsageRecord]) -> None:
        """Settle a batch; records seen before change nothing."""
        ...

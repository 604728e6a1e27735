"""What the router needs from the outside world, as protocols that adapters implement."""

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
    """A whole answer. ``usage`` is None if the worker did not report it.

    ``own_tokens`` is the router's own count of its text, None if it did not count.
    """

    body: bytes
    content_type: str
    usage: Usage | None
    finish_reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    own_tokens: int | None = None


class StreamPart(Struct, frozen=True, gc=False):
    """Some whole server-sent events, ready to be forwarded as they are.

    ``tokens`` counts the events with content. ``usage`` and ``finish_reason`` are set on the part
    that carried them. ``done`` marks the last part: the worker sent ``[DONE]``, which is not in
    ``chunk``.
    """

    chunk: bytes
    tokens: int
    usage: Usage | None = None
    finish_reason: str = ""
    done: bool = False


class UpstreamFailed(Exception):
    """A worker did not answer as it should. ``reason`` is one of few words.

    Another worker may be tried. ``is_fault`` is False if the worker is sound but cannot serve this
    call (it is full, or does not serve this path): that must not count towards its ejection.
    ``retry_after_s`` is how long a full worker asks to be left alone.
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
        """Whether the worker lives and answered, but wrongly: the request may be the cause."""
        return self.reason.startswith(ANSWERED)


ANSWERED = ("http_", "grpc_", "error_", "bad_json", "bad_event", "bad_tensors", "no_choices")


class UpstreamRefused(Exception):
    """A worker says that the request itself is wrong (4xx): another worker would say the same.

    ``code`` and ``param`` are the worker's own, if it gives them.
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
    """Calls workers of one protocol.

    Both methods raise :class:`UpstreamFailed` or :class:`UpstreamRefused`. Cancelling the caller,
    or closing the iterator, closes the connection, which tells a worker to stop.
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
    """Asks engines what they have to do."""

    async def report(self, worker: Worker) -> EngineReport:
        """Raises :class:`UpstreamFailed`, or ``ValueError`` for an invalid report."""
        ...


class SnapshotSource(Protocol):
    """Gives snapshots of the catalog."""

    def snapshots(self) -> AsyncIterator[Snapshot | None]:
        """Yield the current snapshot at once, then each newer one; never ends by itself.

        None in between means that the last one is still the newest.
        """
        ...


class LearnedStore(Protocol):
    """Keeps what was learned of workers beyond the router's end. Blocking; raises ``OSError``."""

    def load(self) -> KeptLearned | None:
        """What was kept, None if nothing was. Raises ``ValueError`` if it is damaged."""
        ...

    def save(self, kept: KeptLearned) -> None:
        """Replace what is kept, whole or not at all."""
        ...


class LeaseGrant(Struct, frozen=True, gc=False):
    """A slice of an account's credit, reserved for this router. Seconds are Unix time."""

    id: str
    purse: Purse
    amount_nano: int
    expires_at_s: float


class Shortage(Struct, frozen=True, gc=False):
    """Why a lease was not given: an account or a budget has too little left.

    ``budget_id`` is 0 if it is the account. ``leased_nano`` is what open leases hold of it now,
    part of which may come back. ``stranded_nano`` is the part of that held by routers that are
    gone; how much of it is spent is known only after their journals are settled.
    """

    budget_id: int
    left_nano: int
    leased_nano: int
    stranded_nano: int = 0


class LeaseBank(Protocol):
    """Gives out slices of credit. Raises ``LedgerUnavailable`` if the ledger is away.

    A lease belongs to one run of one router; a restarted router closes those of its earlier runs.
    """

    async def take(
        self, lease_id: str, purse: Purse, need_nano: int, want_nano: int
    ) -> LeaseGrant | Shortage:
        """Reserve ``want_nano`` if possible, at least ``need_nano``, under a new id.

        A router gets more than its need only up to an equal part among the routers. If credit is
        short, every router is told to give back what it does not use (:meth:`recalls`).
        """
        ...

    async def grow(self, lease_id: str, need_nano: int, want_nano: int) -> int | Shortage:
        """Add to a lease, as :meth:`take` reserves; returns how much. The need is above 0."""
        ...

    async def shrink(self, lease_id: str, amount_nano: int) -> None:
        """Keep at most ``amount_nano`` of a lease and free the rest. Safe to repeat."""
        ...

    async def extend(self, lease_id: str) -> float:
        """Restart a lease's time; returns the Unix seconds at which it ends."""
        ...

    async def close(self, lease_id: str) -> None:
        """Give back what a lease has not spent. Closing an unknown lease changes nothing."""
        ...

    async def close_earlier(self) -> None:
        """Give back every open lease of this router's earlier runs.

        Raises ``LedgerUnavailable`` while it is not sure that these have ended.
        """
        ...

    def recalls(self) -> AsyncIterator[int]:
        """The accounts whose idle credit is needed elsewhere; never ends by itself.

        Raises :class:`Taken` if another router of the same name runs.
        """
        ...


class AppendFile(Protocol):
    """A file that only grows. Everything raises ``OSError``."""

    def append(self, data: bytes) -> int:
        """Write at the end; returns how many bytes. They survive the death of the process."""
        ...

    def sync(self) -> None:
        """Make everything written survive a power loss."""
        ...

    def close(self) -> None:
        """Close the file: nothing more is written."""
        ...


class Disk(Protocol):
    """A folder of files that belongs to one process. Everything raises ``OSError``."""

    def names(self) -> list[str]:
        """The names of its files, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """The whole content of a file."""
        ...

    def create(self, name: str) -> AppendFile:
        """Create an empty file."""
        ...

    def copy(self, name: str, to: str) -> None:
        """Copy a file to another name."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file. A missing file is no error."""
        ...


class Member(Struct, frozen=True):
    """One of several routers. ``demands`` are its running and waiting requests, by worker id;
    ``word`` is what it last said of engines.
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
    """The answer to a beat: the members, and the slots leased until the time to live ends."""

    members: tuple[Member, ...]
    granted: Mapping[str, int]


class Cluster(Protocol):
    """The meeting place of routers. Raises ``LedgerUnavailable`` if it is away.

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
        """Stay a member for ``ttl_s`` more, tell the others ``word``, and lease as many of the
        claimed slots as are free.
        """
        ...

    async def leave(self, router_id: str) -> None:
        """End the membership and give the leases back."""
        ...


class Spending(Struct, frozen=True, gc=False):
    """Charges in nano-USD: of all time, and since the last midnight, Monday and first (UTC)."""

    total_nano: int = 0
    day_nano: int = 0
    week_nano: int = 0
    month_nano: int = 0


class BudgetState(Struct, frozen=True, gc=False):
    """The state of a spending cap. ``window``: ``ever``, ``day``, ``week`` or ``month`` (UTC)."""

    limit_nano: int
    spent_nano: int
    window: str


class Books(Protocol):
    """What is settled. Raises ``LedgerUnavailable`` if the ledger is away."""

    async def budget(self, budget_id: int) -> BudgetState | None:
        """A budget and its spending in the current window."""
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
    """An answer as a client got it."""

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
    """``answer`` is set with ``DONE``."""

    state: ClaimState
    answer: KeptAnswer | None = None


class Losses(Struct, frozen=True):
    """Records that may not have reached the ledger, for a person to look at.

    ``refused_records`` were set aside since the start, ``set_aside_bytes`` lie there now, and
    ``damaged_segments`` of the journal had bytes at the start that are no record.
    """

    refused_records: int = 0
    set_aside_bytes: int = 0
    damaged_segments: int = 0


NO_LOSSES = Losses()


class Claimant(Struct, frozen=True, gc=False):
    """One call that wants a caller's key. Its unique ``token`` fences off earlier calls."""

    scope: str
    key: str
    token: str


class IdempotencyStore(Protocol):
    """Answers by the caller's scope and key. Raises ``LedgerUnavailable`` if it is away."""

    async def claim(self, claimant: Claimant, fingerprint: str, ttl_s: float) -> Claim:
        """Take the key for a call that is about to run, unless another call has it.

        If the call already has it, the claim is renewed. It is ``NEW`` as long as no other call
        took the key over.
        """
        ...

    async def keep(self, claimant: Claimant, answer: KeptAnswer, ttl_s: float) -> None:
        """Keep the call's answer. Does nothing if the call has lost its key."""
        ...

    async def forget(self, claimant: Claimant) -> None:
        """The call has no answer, so another may run. Does nothing if the call has lost its key."""
        ...


class Recorder(Protocol):
    """Keeps finished calls until they are settled."""

    def admit(self) -> None:
        """Raises ``LedgerUnavailable`` if a finished call could not be kept."""
        ...

    def append(self, record: UsageRecord) -> None:
        """Keep one finished call. Never raises."""
        ...


class RecordRejected(Exception):
    """The ledger refuses a batch because of a record in it; another try would not help."""


class RefusalCount(Struct, frozen=True, gc=False):
    """What refused calls are counted by: caller, hour, model and error."""

    organisation_id: int
    starts_at_ms: int
    key_id: int
    user_id: int
    model: str
    code: str


class RefusalSink(Protocol):
    """Counts refused calls. Raises ``LedgerUnavailable`` if it is away."""

    async def add_refusals(self, counted: Mapping[RefusalCount, int]) -> None:
        """Add to the counts."""
        ...


class RecordSink(Protocol):
    """Settles finished calls.

    Raises ``LedgerUnavailable`` if it is away, and :class:`RecordRejected` if a record of the batch
    cannot be settled; then none of the batch is.
    """

    async def settle(self, records: Sequence[UsageRecord]) -> None:
        """Settle a batch. Records settled before change nothing."""
        ...

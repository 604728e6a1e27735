"""Finished and refused calls, on their way to the ledger."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from router.contracts.record import UsageRecord


class Losses(Struct, frozen=True):
    """Records that may not have reached the ledger, for a person to look at.

    ``refused_records`` were set aside since the start, and ``set_aside_bytes`` lie there now.
    ``damaged_segments`` of the journal have bytes that are no record, and copies on the disk.
    ``journal_broken`` says that the disk refused a write: no call is admitted any more.
    """

    refused_records: int = 0
    set_aside_bytes: int = 0
    damaged_segments: int = 0
    journal_broken: bool = False


NO_LOSSES = Losses()


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

"""Takes finished calls from the journal to the ledger, in batches, until it acknowledges them."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

import msgspec

from router.contracts.journal import PAYLOAD_BYTES_MAX, Kept, newest_records
from router.contracts.record import NO_CANDIDATES, UsageRecord, encode_record
from router.domain.errors import LedgerUnavailable
from router.metering.journal import Journal, JournalBroken
from router.ports.records import Losses, RecordRejected, RecordSink

BATCH_MAX = 500
BATCH_BYTES_MAX = 8 * 1024 * 1024
"""A batch ends at either: one that is too large for PostgreSQL, or takes it too long, would be
tried for ever. A single record may be larger.
"""
GATHER_S = 0.02
SYNC_S = 0.01
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 5.0

log = logging.getLogger(__name__)


class Settler:
    """``append`` is the hot path's part: one write. ``run`` does the rest in the background.

    ``settled`` is called with each record once the ledger has it. ``set_aside`` keeps records that
    the ledger refuses or that cannot be read, for a person to look at; ``set_aside_bytes`` tells
    their size. What it cannot keep (``OSError``) stays in the journal until the next start.
    ``offload`` runs a blocking call off the event loop.
    """

    def __init__(
        self,
        journal: Journal,
        sink: RecordSink,
        *,
        settled: Callable[[UsageRecord], None],
        set_aside: Callable[[bytes], None],
        unsettled_max: int,
        set_aside_bytes: Callable[[], int] = lambda: 0,
        offload: Callable[[Callable[[], None]], Awaitable[None]] = asyncio.to_thread,
    ) -> None:
        self._journal = journal
        self._sink = sink
        self._settled = settled
        self._set_aside = set_aside
        self._set_aside_bytes = set_aside_bytes
        self._unsettled_max = unsettled_max
        self._offload = offload
        self._wake = asyncio.Event()
        self._written = asyncio.Event()
        self._pending: deque[Kept] = deque()
        self._streams: dict[str, int] = {}
        self._superseded: list[int] = []
        self.rejected = 0
        """Records set aside since the start."""
        self._recover()
        self._earlier = len(self._pending)

    def _recover(self) -> None:
        """Take over what an earlier process left. Unreadable records are set aside, not lost."""
        calls, unreadable = newest_records(self._journal.recovered)
        for segment, payload in unreadable:
            log.critical("a journalled record cannot be read: it is set aside")
            if self._refuse(payload):
                self._journal.acknowledge(segment)
        self._pending.extend(calls)
        self._journal.recovered.clear()
        if self._pending:
            self._wake.set()

    @property
    def unsettled(self) -> int:
        """Finished calls that the ledger has not acknowledged."""
        return len(self._pending)

    @property
    def losses(self) -> Losses:
        """Records that may not have reached the ledger."""
        journal = self._journal
        return Losses(self.rejected, self._set_aside_bytes(), journal.damaged, bool(journal.broken))

    @property
    def earlier_is_settled(self) -> bool:
        """Whether the ledger has everything that earlier processes left."""
        return not self._earlier

    def admit(self) -> None:
        """Refuse new calls when their charges could not be kept."""
        if self._journal.broken:
            raise LedgerUnavailable("the router's journal cannot be written", retry_after_s=30)
        if len(self._pending) >= self._unsettled_max:
            raise LedgerUnavailable("too many calls wait to be settled", retry_after_s=10)

    def checkpoint(self, record: UsageRecord) -> None:
        """Journal what a running stream would owe if this process died now."""
        segment = self._write(record, encode_record(record))
        if segment is not None:
            self._supersede(record.request_id)
            self._streams[record.request_id] = segment

    def append(self, record: UsageRecord) -> None:
        """Journal one finished call.

        If the journal is broken, the call is settled from memory; admission has then stopped.
        """
        payload = encode_record(record)
        segment = self._write(record, payload)
        segments = [] if segment is None else [segment]
        if self._streams:
            self._supersede(record.request_id)
        self._pending.append(Kept(record, len(payload), segments))
        self._wake.set()

    def _write(self, record: UsageRecord, payload: bytes) -> int | None:
        if len(payload) > PAYLOAD_BYTES_MAX:  # Thousands of candidates.
            payload = encode_record(msgspec.structs.replace(record, candidates=NO_CANDIDATES))
        try:
            segment = self._journal.append(payload)
            self._written.set()
            return segment
        except (JournalBroken, ValueError) as error:
            log.critical("call %s could not be journalled: %s", record.request_id, error)
            return None

    def _supersede(self, request_id: str) -> None:
        before = self._streams.pop(request_id, None)
        if before is not None:
            self._superseded.append(before)

    async def run(self) -> None:
        """Settle until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sync_forever())
            group.create_task(self._settle_forever())

    async def flush(self, timeout_s: float) -> bool:
        """Settle what is left; False if the ledger stays away until the timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._pending:
                    await self._settle_batch()
        await self._sync()
        return not self._pending

    async def _sync_forever(self) -> None:
        while True:
            await self._written.wait()
            self._written.clear()
            await asyncio.sleep(SYNC_S)
            await self._sync()

    async def _sync(self) -> None:
        # A checkpoint may go only once its successor would survive a power loss.
        superseded = len(self._superseded)
        await self._offload(self._journal.sync)
        if not self._journal.broken:
            for segment in self._superseded[:superseded]:
                self._journal.acknowledge(segment)
            del self._superseded[:superseded]

    async def _settle_forever(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)
            self._wake.clear()
            while self._pending:
                await self._settle_batch()

    async def _settle_batch(self) -> None:
        batch = self._next_batch()
        delay_s = RETRY_FIRST_S
        refused: dict[str, bool] = {}
        while True:
            try:
                await self._settle_or_halve([kept.record for kept in batch], refused)
                break
            except LedgerUnavailable as error:
                log.warning("ledger away, %d calls wait: %s", len(self._pending), error)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_MAX_S)
        for kept in batch:
            self._pending.popleft()
            if refused.get(kept.record.request_id, True):
                for segment in kept.segments:
                    self._journal.acknowledge(segment)
            self._settled(kept.record)
        self._earlier = max(self._earlier - len(batch), 0)

    def _next_batch(self) -> list[Kept]:
        """The oldest calls, as many as may be settled at once."""
        batch: list[Kept] = []
        size = 0
        for kept in islice(self._pending, BATCH_MAX):
            size += kept.size
            if batch and size > BATCH_BYTES_MAX:
                break
            batch.append(kept)
        return batch

    async def _settle_or_halve(
        self, records: Sequence[UsageRecord], refused: dict[str, bool]
    ) -> None:
        """Settle. On a refusal, find the record at fault, set it aside and settle the others.

        ``refused`` remembers the records at fault, in case the batch is retried, and whether each
        is set aside.
        """
        records = [record for record in records if record.request_id not in refused]
        if not records:
            return
        try:
            await self._sink.settle(records)
        except RecordRejected as error:
            if len(records) > 1:
                middle = len(records) // 2
                await self._settle_or_halve(records[:middle], refused)
                await self._settle_or_halve(records[middle:], refused)
                return
            log.critical("the ledger refuses call %s: %s", records[0].request_id, error)
            refused[records[0].request_id] = self._refuse(encode_record(records[0]))

    def _refuse(self, payload: bytes) -> bool:
        """Set a record aside; False if that cannot be done now."""
        self.rejected += 1
        try:
            self._set_aside(payload)
        except OSError as error:
            log.critical("a record cannot be set aside, so its journal stays: %s", error.strerror)
            return False
        return True

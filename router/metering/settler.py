"""Carries finished calls from the journal to the ledger, in batches, until it is acknowledged."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from router.contracts.record import UsageRecord, decode_record, encode_record
from router.domain.errors import LedgerUnavailable
from router.metering.journal import Journal, JournalBroken
from router.ports import RecordRejected, RecordSink

BATCH_MAX = 500
GATHER_S = 0.02
SYNC_S = 0.01
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 5.0

log = logging.getLogger(__name__)


class Settler:
    """``append`` is the hot path's part: one write. ``run`` does the rest in the background.

    ``settled`` is called with each record once the ledger has it.
    """

    def __init__(
        self,
        journal: Journal,
        sink: RecordSink,
        *,
        settled: Callable[[UsageRecord], None],
        unsettled_max: int,
        rejected_path: Path,
    ) -> None:
        self._journal = journal
        self._sink = sink
        self._settled = settled
        self._unsettled_max = unsettled_max
        self._rejected_path = rejected_path
        self._wake = asyncio.Event()
        self._pending: deque[tuple[int, UsageRecord]] = deque()
        self._recover()
        if self._pending:
            self._wake.set()

    def _recover(self) -> None:
        """Take over what an earlier process left; what cannot be read is set aside, not lost."""
        for segment, payload in self._journal.recovered:
            try:
                self._pending.append((segment, decode_record(payload)))
            except ValueError as error:
                log.critical("a journalled record cannot be read: %s", error)
                self._set_aside(payload)
                self._journal.acknowledge(segment)
        self._journal.recovered.clear()

    @property
    def unsettled(self) -> int:
        """Finished calls that the ledger has not acknowledged."""
        return len(self._pending)

    def admit(self) -> None:
        """Refuse new calls when what they owe could not be kept."""
        if self._journal.broken:
            raise LedgerUnavailable("the router's journal cannot be written", retry_after_s=30)
        if len(self._pending) >= self._unsettled_max:
            raise LedgerUnavailable("too many calls wait to be settled", retry_after_s=10)

    def append(self, record: UsageRecord) -> None:
        """Journal one finished call. A broken journal is logged; admission stops by itself."""
        try:
            segment = self._journal.append(encode_record(record))
        except JournalBroken as error:
            log.critical("call %s could not be journalled: %s", record.request_id, error)
            return
        self._pending.append((segment, record))
        self._wake.set()

    async def run(self) -> None:
        """Settle until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sync_forever())
            group.create_task(self._settle_forever())

    async def flush(self, timeout_s: float) -> bool:
        """Settle what is left; False when the ledger stayed away until the timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._pending:
                    await self._settle_batch()
        return not self._pending

    async def _sync_forever(self) -> None:
        while True:
            await asyncio.sleep(SYNC_S)
            if self._journal.dirty:
                await asyncio.to_thread(self._journal.sync)

    async def _settle_forever(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)
            self._wake.clear()
            while self._pending:
                await self._settle_batch()

    async def _settle_batch(self) -> None:
        batch = [self._pending[i] for i in range(min(BATCH_MAX, len(self._pending)))]
        delay_s = RETRY_FIRST_S
        while True:
            try:
                await self._settle_or_halve([record for _, record in batch])
                break
            except LedgerUnavailable as error:
                log.warning("ledger away, %d calls wait: %s", len(self._pending), error)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_MAX_S)
        for segment, record in batch:
            self._pending.popleft()
            self._journal.acknowledge(segment)
            self._settled(record)

    async def _settle_or_halve(self, records: Sequence[UsageRecord]) -> None:
        """Settle, and on a refusal find the record at fault, set it aside and settle the others."""
        try:
            await self._sink.settle(records)
        except RecordRejected as error:
            if len(records) > 1:
                middle = len(records) // 2
                await self._settle_or_halve(records[:middle])
                await self._settle_or_halve(records[middle:])
                return
            log.critical("the ledger refuses call %s: %s", records[0].request_id, error)
            self._set_aside(encode_record(records[0]))

    def _set_aside(self, payload: bytes) -> None:
        with self._rejected_path.open("ab") as file:
            file.write(payload + b"\n")

"""The settler: every finished call reaches the ledger once, however the ledger behaves."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from router.adapters.file_disk import LineFile
from router.adapters.memory import MemoryLedger
from router.adapters.memory_disk import MemoryDisk
from router.contracts.record import (
    NO_CANDIDATES,
    CandidateRecord,
    Candidates,
    UsageRecord,
    decode_record,
    encode_record,
    encode_records,
)
from router.domain.errors import LedgerUnavailable
from router.metering import journal as journal_module
from router.metering import settler as module
from router.metering.journal import Journal
from router.metering.settler import Settler
from router.ports.records import Losses, RecordRejected
from tests.unit.router.pipeline.line import in_time as until
from tests.unit.router.records import record


class MoodyLedger(MemoryLedger):
    """Is away for the first ``away`` batches."""

    def __init__(self, away: int) -> None:
        super().__init__(clock=lambda: 0.0)
        self.away = away

    async def settle(self, records: Sequence[UsageRecord]) -> None:
        if self.away:
            self.away -= 1
            raise LedgerUnavailable("away")
        await super().settle(records)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(module, "GATHER_S", 0.0)


class Bench:
    """A settler over a disk and a ledger that outlive it, and its reports."""

    def __init__(self, ledger: MemoryLedger, *, unsettled_max: int = 1000) -> None:
        self.ledger = ledger
        self.disk = MemoryDisk()
        self.settled: list[str] = []
        self.aside: list[bytes] = []
        self.set_aside: Callable[[bytes], None] = self.aside.append
        self._unsettled_max = unsettled_max

    def settler(
        self,
        journal: Journal | None = None,
        offload: Callable[[Callable[[], None]], Awaitable[None]] | None = None,
    ) -> Settler:
        """Of a new process."""
        return Settler(
            journal or Journal(self.disk),
            self.ledger,
            settled=lambda r: self.settled.append(r.request_id),
            set_aside=self.set_aside,
            unsettled_max=self._unsettled_max,
            offload=offload or inline,
        )


async def inline(work: Callable[[], None]) -> None:
    work()


async def test_a_ledger_that_comes_back_gets_everything_once() -> None:
    bench = Bench(MoodyLedger(away=3))
    made = bench.settler()
    for i in range(20):
        made.append(record(str(i)))
    assert await made.flush(5)
    assert bench.settled == [str(i) for i in range(20)]
    assert [r.request_id for r in bench.ledger.records] == bench.settled


async def test_it_settles_in_the_background() -> None:
    bench = Bench(MoodyLedger(away=0))
    made = bench.settler()
    running = asyncio.create_task(made.run())
    made.append(record("a"))
    await until(lambda: bench.settled == ["a"])
    running.cancel()
    assert made.unsettled == 0


async def test_no_batch_is_too_large_for_the_ledger() -> None:
    """As PostgreSQL refuses arrays of some size, and takes too long for others."""

    class Narrow(MoodyLedger):
        async def settle(self, records: Sequence[UsageRecord]) -> None:
            if len(records) > 1 and len(encode_records(records)) > 10 * 1024 * 1024:
                raise LedgerUnavailable("away")
            await super().settle(records)

    bench = Bench(Narrow(away=0))
    made = bench.settler()
    sizes = [11 * 1024 * 1024, *[512 * 1024] * 40]
    for number, size in enumerate(sizes):
        made.append(record(str(number), why="x" * size))
    assert await made.flush(5)
    assert bench.settled == [str(number) for number in range(len(sizes))]


async def test_what_a_killed_router_left_is_batched_alike() -> None:
    bench = Bench(MoodyLedger(away=0))
    killed = bench.settler()
    for number in range(20):
        killed.checkpoint(record(str(number)))
        killed.append(record(str(number), why="x" * 512 * 1024))
    sizes: list[int] = []

    class Watching(MoodyLedger):
        async def settle(self, records: Sequence[UsageRecord]) -> None:
            sizes.append(len(encode_records(records)))
            await super().settle(records)

    bench.ledger = Watching(away=0)
    assert await bench.settler().flush(5)
    assert len(sizes) == 2
    assert max(sizes) < 10 * 1024 * 1024


async def test_a_segment_that_cannot_be_deleted_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES_MAX", 1)
    bench = Bench(MoodyLedger(away=0))
    journal = Journal(bench.disk)
    made = bench.settler(journal)

    def stuck(what: str) -> None:
        if what == "delete":
            raise OSError(5, "Input/output error")

    bench.disk.fault = stuck
    made.append(record("a"))
    made.append(record("b"))
    assert await made.flush(5)
    journal.close()
    assert bench.settled == ["a", "b"]
    assert len(bench.disk.names()) == 2
    bench.disk.fault = lambda _: None
    again = Journal(bench.disk)
    assert await bench.settler(again).flush(5)
    again.close()
    assert [r.request_id for r in bench.ledger.records] == ["a", "b"], "each of them once"
    assert bench.disk.names() == []


async def test_a_poisoned_record_is_set_aside_and_the_others_settle() -> None:
    bench = Bench(MoodyLedger(away=0))
    made = bench.settler()
    for i in range(9):
        made.append(record(str(i), charge_nano=5 if i == 4 else 0, hold_nano=0))
    assert await made.flush(5)
    assert sorted(r.request_id for r in bench.ledger.records) == [
        str(i) for i in range(9) if i != 4
    ]
    (aside,) = bench.aside
    assert decode_record(aside).request_id == "4"
    assert made.rejected == 1


async def test_a_poisoned_record_is_set_aside_once_when_the_ledger_goes_away_midway() -> None:
    class AwayAfterRefusal(MoodyLedger):
        async def settle(self, records: Sequence[UsageRecord]) -> None:
            try:
                await super().settle(records)
            except RecordRejected:
                if len(records) == 1:
                    self.away = 1
                raise

    bench = Bench(AwayAfterRefusal(away=0))
    made = bench.settler()
    for i in range(4):
        made.append(record(str(i), charge_nano=5 if i == 0 else 0, hold_nano=0))
    assert await made.flush(5)
    assert len(bench.aside) == 1
    assert [r.request_id for r in bench.ledger.records] == ["1", "2", "3"]


async def test_what_cannot_be_set_aside_stays_in_the_journal_and_ends_nothing() -> None:
    bench, poisoned = Bench(MoodyLedger(away=0)), record("1", charge_nano=5, hold_nano=0)

    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    Journal(bench.disk).append(b"not a record")
    bench.set_aside = full
    journal = Journal(bench.disk)
    made = bench.settler(journal)
    made.append(record("0"))
    made.append(poisoned)
    made.append(record("2"))
    assert await made.flush(5)
    journal.close()
    assert bench.settled == ["0", "1", "2"], "what they held is free"
    assert [r.request_id for r in bench.ledger.records] == ["0", "2"]
    assert made.rejected == 2

    bench.set_aside = bench.aside.append
    journal = Journal(bench.disk)
    assert await bench.settler(journal).flush(5)
    journal.close()
    assert bench.aside == [b"not a record", encode_record(poisoned)]
    assert [r.request_id for r in bench.ledger.records] == ["0", "2"]
    assert bench.disk.names() == []


async def test_a_killed_routers_calls_are_settled_by_the_next_one() -> None:
    bench = Bench(MoodyLedger(away=0))
    bench.settler().append(record("a"))
    again = bench.settler()
    assert not again.earlier_is_settled
    assert await again.flush(5)
    assert again.earlier_is_settled
    assert [r.request_id for r in bench.ledger.records] == ["a"]


async def test_a_call_that_thousands_of_places_were_considered_for_is_journalled_without_them() -> (
    None
):
    bench = Bench(MoodyLedger(away=0))
    place = CandidateRecord(1, "w", "p", "slower", 1.0, 1.0, 1.0)
    considered = Candidates(lambda: (place,) * 20_000)
    bench.settler().append(msgspec.structs.replace(record("a"), candidates=considered))
    again = bench.settler()
    assert await again.flush(5)
    (settled,) = bench.ledger.records
    assert (settled.request_id, settled.candidates) == ("a", NO_CANDIDATES)


async def test_a_stream_that_a_killed_router_left_is_billed_to_its_last_checkpoint() -> None:
    bench = Bench(MoodyLedger(away=0))
    killed = bench.settler()
    for charge in (1, 2, 3):
        one = record("a", outcome="interrupted", charge_nano=charge, hold_nano=9)
        killed.checkpoint(one)
    assert killed.unsettled == 0
    assert await bench.settler().flush(5)
    assert [(r.outcome, r.charge_nano) for r in bench.ledger.records] == [("interrupted", 3)]


async def test_a_stream_that_ended_is_billed_by_its_end() -> None:
    bench = Bench(MoodyLedger(away=0))
    killed = bench.settler()
    killed.checkpoint(record("a", outcome="interrupted", charge_nano=1, hold_nano=9))
    killed.append(record("a", charge_nano=5, hold_nano=9))
    assert await bench.settler().flush(5)
    assert [(r.outcome, r.charge_nano) for r in bench.ledger.records] == [("completed", 5)]


async def test_checkpoints_of_a_long_stream_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES_MAX", 1)
    bench = Bench(MoodyLedger(away=0))
    made = bench.settler()
    running = asyncio.create_task(made.run())
    for charge in range(20):
        made.checkpoint(record("a", outcome="interrupted", charge_nano=charge, hold_nano=99))
    await until(lambda: len(bench.disk.names()) <= 2)
    running.cancel()
    assert await bench.settler().flush(5)
    assert [r.charge_nano for r in bench.ledger.records] == [19]


async def test_a_stream_that_ended_just_before_the_stop_leaves_no_file() -> None:
    bench = Bench(MoodyLedger(away=0))
    journal = Journal(bench.disk)
    made = bench.settler(journal)
    made.checkpoint(record("a", outcome="interrupted", charge_nano=1, hold_nano=9))
    made.append(record("a", charge_nano=5, hold_nano=9))
    assert await made.flush(5)
    journal.close()
    assert bench.disk.names() == []


async def test_a_sync_that_the_stop_cuts_off_leaves_no_file() -> None:
    bench = Bench(MoodyLedger(away=0))
    journal = Journal(bench.disk)
    syncing = asyncio.Event()

    async def stuck(_: Callable[[], None]) -> None:
        syncing.set()
        await asyncio.Event().wait()

    made = bench.settler(journal, offload=stuck)
    running = asyncio.create_task(made.run())
    made.checkpoint(record("a", outcome="interrupted", charge_nano=1, hold_nano=9))
    made.append(record("a", charge_nano=5, hold_nano=9))
    await syncing.wait()
    running.cancel()
    made._offload = inline
    assert await made.flush(5)
    journal.close()
    assert bench.disk.names() == []


async def test_a_checkpoint_outlives_a_power_loss_until_the_next_one_is_synced() -> None:
    bench = Bench(MoodyLedger(away=0))
    made = bench.settler()
    made.checkpoint(record("a", outcome="interrupted", charge_nano=1, hold_nano=9))
    made._journal.sync()
    made.checkpoint(record("a", outcome="interrupted", charge_nano=2, hold_nano=9))
    bench.disk.lose_power(lambda _: 0)
    assert await bench.settler().flush(5)
    assert [r.charge_nano for r in bench.ledger.records] == [1]


async def test_with_a_broken_journal_running_calls_are_still_settled() -> None:
    bench = Bench(MoodyLedger(away=0))
    made = bench.settler()

    def full(what: str) -> None:
        raise OSError(28, "No space left on device")

    bench.disk.fault = full
    made.append(record("a"))
    with pytest.raises(LedgerUnavailable, match="journal"):
        made.admit()
    assert await made.flush(5)
    assert [r.request_id for r in bench.ledger.records] == ["a"]


async def test_a_stream_that_outlives_its_journal_is_still_settled() -> None:
    bench = Bench(MoodyLedger(away=0))
    made = bench.settler()

    def full(what: str) -> None:
        raise OSError(28, "No space left on device")

    bench.disk.fault = full
    made.checkpoint(record("a"))
    made.append(record("a"))
    assert await made.flush(5)
    assert [r.request_id for r in bench.ledger.records] == ["a"]


async def test_a_journalled_record_that_cannot_be_read_is_set_aside() -> None:
    bench = Bench(MoodyLedger(away=0))
    Journal(bench.disk).append(b"not a record")
    assert bench.settler().unsettled == 0
    assert bench.aside == [b"not a record"]


async def test_flush_gives_up_in_time_and_keeps_the_records() -> None:
    made = Bench(MoodyLedger(away=10**6)).settler()
    made.append(record("a"))
    assert not await made.flush(0.01)
    assert made.unsettled == 1


async def test_admission_stops_when_too_much_is_owed() -> None:
    made = Bench(MoodyLedger(away=0), unsettled_max=2).settler()
    made.admit()
    made.append(record("a"))
    made.append(record("b"))
    with pytest.raises(LedgerUnavailable, match="wait to be settled"):
        made.admit()


async def test_what_the_ledger_refuses_and_a_damaged_journal_are_counted(tmp_path: Path) -> None:
    """For the alerts: the file counts for as long as it is there, also after another start."""
    bench, aside = Bench(MemoryLedger(clock=lambda: 0.0)), LineFile(tmp_path / "rejected.jsonl")
    earlier = Journal(bench.disk)
    earlier.append(b"no record")
    earlier.append(encode_record(record("1")))
    bench.disk.lose_power(lambda unsynced: unsynced - 1)

    def started() -> Settler:
        return Settler(
            Journal(bench.disk),
            bench.ledger,
            settled=lambda _: None,
            set_aside=aside.append,
            set_aside_bytes=aside.size,
            unsettled_max=10,
        )

    assert started().losses == Losses(1, len(b"no record\n"), 1)
    assert started().losses == Losses(0, len(b"no record\n"), 1)

"""The settler: every finished call reaches the ledger once, however the ledger behaves."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from router.adapters.memory import MemoryLedger
from router.contracts.record import UsageRecord, decode_record
from router.domain.errors import LedgerUnavailable
from router.metering import settler as module
from router.metering.journal import Journal
from router.metering.settler import Settler
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


def settler_over(
    ledger: MemoryLedger, folder: Path, settled: list[str], *, unsettled_max: int = 1000
) -> Settler:
    return Settler(
        Journal(folder / "journal"),
        ledger,
        settled=lambda r: settled.append(r.request_id),
        unsettled_max=unsettled_max,
        rejected_path=folder / "rejected.jsonl",
    )


async def test_a_ledger_that_comes_back_gets_everything_once(tmp_path: Path) -> None:
    ledger, settled = MoodyLedger(away=3), []
    made = settler_over(ledger, tmp_path, settled)
    for i in range(20):
        made.append(record(str(i)))
    assert await made.flush(5)
    assert settled == [str(i) for i in range(20)]
    assert [r.request_id for r in ledger.records] == settled


async def test_it_settles_in_the_background(tmp_path: Path) -> None:
    settled = asyncio.Event()
    made = Settler(
        Journal(tmp_path / "journal"),
        MoodyLedger(away=0),
        settled=lambda _: settled.set(),
        unsettled_max=10,
        rejected_path=tmp_path / "rejected.jsonl",
    )
    running = asyncio.create_task(made.run())
    made.append(record("a"))
    await asyncio.wait_for(settled.wait(), 5)
    running.cancel()
    assert made.unsettled == 0


async def test_a_poisoned_record_is_set_aside_and_the_others_settle(tmp_path: Path) -> None:
    ledger, settled = MoodyLedger(away=0), []
    made = settler_over(ledger, tmp_path, settled)
    for i in range(9):
        made.append(record(str(i), charge_nano=5 if i == 4 else 0, hold_nano=0))
    assert await made.flush(5)
    assert sorted(r.request_id for r in ledger.records) == [str(i) for i in range(9) if i != 4]
    (aside,) = (tmp_path / "rejected.jsonl").read_bytes().splitlines()
    assert decode_record(aside).request_id == "4"


async def test_a_killed_routers_calls_are_settled_by_the_next_one(tmp_path: Path) -> None:
    killed = settler_over(MoodyLedger(away=0), tmp_path, [])
    killed.append(record("a"))
    ledger = MoodyLedger(away=0)
    assert await settler_over(ledger, tmp_path, []).flush(5)
    assert [r.request_id for r in ledger.records] == ["a"]


async def test_a_journalled_record_that_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    Journal(tmp_path / "journal").append(b"not a record")
    made = settler_over(MoodyLedger(away=0), tmp_path, [])
    assert made.unsettled == 0
    assert (tmp_path / "rejected.jsonl").read_bytes() == b"not a record\n"


async def test_flush_gives_up_in_time_and_keeps_the_records(tmp_path: Path) -> None:
    made = settler_over(MoodyLedger(away=10**6), tmp_path, [])
    made.append(record("a"))
    assert not await made.flush(0.01)
    assert made.unsettled == 1


async def test_admission_stops_when_too_much_is_owed(tmp_path: Path) -> None:
    made = settler_over(MoodyLedger(away=0), tmp_path, [], unsettled_max=2)
    made.admit()
    made.append(record("a"))
    made.append(record("b"))
    with pytest.raises(LedgerUnavailable, match="wait to be settled"):
        made.admit()


def test_records_survive_the_journals_encoding(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    sent = record("x", charge_nano=12, model="a/b")
    journal.append(module.encode_record(sent))
    ((_, payload),) = Journal(tmp_path).recovered
    assert decode_record(payload) == sent

"""A few histories in every test run, and proof that the simulation finds what is wrong."""

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from router.contracts.record import UsageRecord
from router.metering.lease import Hold, LeaseBook
from router.metering.settler import Settler
from router.metering.vault import Vault
from tests.simulation.money import simulate
from tests.simulation.world import Broken

SEEDS = range(60)
SEEDS_TO_FIND = range(300)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL + 1)


def many(seeds: range) -> None:
    for seed in seeds:
        simulate(seed)


def test_everything_holds_in_every_history() -> None:
    many(SEEDS)


def test_holds_grow_and_streams_are_cut_in_these_histories() -> None:
    worlds = [simulate(seed) for seed in range(20)]
    assert sum(world.raised for world in worlds) > 100
    assert sum(world.cut for world in worlds) > 10


def test_a_recall_beside_a_growing_lease_waits_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    began = Vault.__init__

    def unlocked(vault: Vault, *args: Any, **fields: Any) -> None:
        began(vault, *args, **fields)
        recalls_forget_growth(vault)

    monkeypatch.setattr(Vault, "__init__", unlocked)
    with pytest.raises(Broken):
        many(SEEDS_TO_FIND)


def test_a_seed_is_one_history() -> None:
    first, second = simulate(7), simulate(7)
    assert first.truths == second.truths
    assert list(first.ledger.records) == list(second.ledger.records)


def no_checkpoints(_: Settler, record: UsageRecord) -> None:
    """Streams are not journalled."""


def checkpoints_die_early(settler: Settler, request_id: str) -> None:
    """The one before is let go before the one after it was synced."""
    before = settler._streams.pop(request_id, None)
    if before is not None:
        settler._journal.acknowledge(before)


def nothing_comes_back(book: LeaseBook, account_id: int) -> list[tuple[str, int]]:
    """A router keeps what it does not use."""
    return []


def leases_close_early(book: LeaseBook) -> list[str]:
    """Before the ledger knows every call that held from them."""
    return [lease_id for lease_id, lease in book._leases.items() if lease.retired]


async def doubts_are_forgotten(vault: Vault, *args: Any) -> Any:
    """A lease that was given without a word stays held."""
    found = await TAKE(vault, *args)
    vault._doubtful.clear()
    return found


TAKE = Vault._take


def holds_are_free(book: LeaseBook, hold: Any, charge_nano: int) -> None:
    """What a call was charged comes back too."""
    lease = book._leases.get(hold.lease_id)
    if lease is not None:
        lease.remaining_nano += hold.amount_nano


def growth_is_free(book: LeaseBook, hold: Hold, more_nano: int) -> Hold:
    """A hold grows and its lease has what it had."""
    return structs.replace(hold, amount_nano=hold.amount_nano + more_nano)


def recalls_forget_growth(vault: Vault) -> None:
    """A recall may tell the ledger of a lease as it was before it grew."""
    vault._changing = defaultdict(Unlocked)


class Unlocked:
    """Holds nobody up."""

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("owner", "name", "fault", "found_by"),
    [
        (Settler, "checkpoint", no_checkpoints, "tokens only"),
        (LeaseBook, "give_up", nothing_comes_back, "was refused with"),
        (LeaseBook, "finished", leases_close_early, "were late"),
        (Vault, "_take", doubts_are_forgotten, "still"),
        (LeaseBook, "settle", holds_are_free, r"account \d has|budget \d is"),
        (LeaseBook, "raised", growth_is_free, r"account \d has|budget \d is"),
    ],
)
def test_a_planted_fault_is_found(
    owner: type,
    name: str,
    fault: Callable[..., Any],
    found_by: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owner, name, fault)
    with pytest.raises(Broken, match=found_by):
        many(SEEDS_TO_FIND)

"""Journals settled and compared by hand, routers written off, what reconciliation says."""

import os
import time
import uuid
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from marketplace.billing.budgets.services import budget_set
from marketplace.billing.models import Lease, Transfer, TransferKind, Window, WriteOff
from marketplace.billing.proof.ledger import ledger_proof
from marketplace.usage.models import UsageEvent
from router.adapters.file_disk import FileDisk, LineFile
from router.adapters.postgres.bank import ALONE_SQL
from router.contracts.record import UsageRecord, encode_record
from router.metering.journal import Journal
from tests.integration.marketplace.ledger import (
    USD,
    as_owner,
    call,
    intrude,
    lease_close,
    lease_take,
    record,
    settle,
)
from tests.integration.marketplace.shop import Shop


def finished(shop: Shop, charge: int = 10, **values: Any) -> UsageRecord:
    return record(
        account_id=shop.customer_account.pk,
        organisation_id=shop.organisation.pk,
        provider_account_id=shop.provider_account.pk,
        charge_nano=charge,
        **values,
    )


def journal(folder: Path, *records: UsageRecord, torn: bytes = b"") -> Path:
    """As a router that was killed left it."""
    written = Journal(FileDisk(folder))
    for usage in records:
        written.append(encode_record(usage))
    written.sync()
    if torn:
        with max(folder.glob("*.journal")).open("ab") as file:
            file.write(torn)
    return folder


def ledger(*arguments: object) -> str:
    """What the command says; raises ``CommandError``."""
    said = StringIO()
    call_command("ledger", *map(str, arguments), stdout=said, stderr=said)
    return said.getvalue()


def failing(*arguments: object) -> str:
    """What a command says that ends with 1."""
    said = StringIO()
    with pytest.raises(CommandError) as failed:
        call_command("ledger", *map(str, arguments), stdout=said, stderr=said)
    assert failed.value.returncode == 1
    return f"{said.getvalue()}{failed.value}"


def beat(router_id: str) -> None:
    """Have a router be there."""
    call("SELECT routing_beat(%s, 'http://r', 60, '{}', '{}')::text", router_id)


# --- replay ------------------------------------------------------------------------------------


def test_a_journal_replayed_twice_moves_money_once(shop: Shop, tmp_path: Path) -> None:
    lease = lease_take(shop.customer_account.pk, 100, 1_000)
    calls = [finished(shop, n, lease_id=lease) for n in (10, 20, 30)]
    folder = journal(tmp_path / "journal", *calls, torn=b"\x40\x00\x00\x00half a rec")
    assert "3 new, 0 known already, 0 refused" in ledger("replay", folder)
    said = ledger("replay", folder)
    assert "0 new, 3 known already, 0 refused" in said
    assert "00000001.journal ends in bytes that are no record" in said
    assert (shop.customer_account.posted_nano, shop.customer_account.held_nano) == (
        10 * USD - 60,
        940,
    )
    assert ledger_proof().gaps == ()


def test_calls_behind_a_damaged_record_are_replayed(shop: Shop, tmp_path: Path) -> None:
    journal(tmp_path, *(finished(shop, n) for n in (10, 20, 30)))
    (segment,) = tmp_path.glob("*.journal")
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 2] ^= 1
    segment.write_bytes(raw)
    said = ledger("replay", tmp_path)
    assert "2 new, 0 known already, 0 refused" in said
    assert "00000001.journal has bytes that are no record before others that were read" in said
    assert shop.customer_account.posted_nano == 10 * USD - 40
    assert "00000001.journal is damaged: calls in it may be unbilled" in failing(
        "verify", "--journal", tmp_path
    )


def test_the_newest_record_of_a_stream_is_what_is_settled(shop: Shop, tmp_path: Path) -> None:
    ended = finished(shop, 30, outcome="completed")
    broken = finished(shop, 7, outcome="interrupted")
    early = [
        msgspec.structs.replace(item, charge_nano=5, commission_nano=0) for item in (ended, broken)
    ]
    folder = journal(tmp_path, *early, ended, broken)
    ledger("replay", folder)
    charges = UsageEvent.objects.values_list("outcome", "charge_nano")
    assert set(charges) == {("completed", 30), ("interrupted", 7)}


def test_more_than_a_batch_with_bad_records_settles_the_good_ones(
    shop: Shop, tmp_path: Path
) -> None:
    calls = [finished(shop, 1) for _ in range(600)]
    bad = msgspec.structs.replace(finished(shop, 2), hold_nano=1)
    journal(tmp_path, *calls[:300], bad, *calls[300:])
    said = failing("replay", tmp_path)
    assert "600 new, 0 known already, 1 refused" in said
    assert f"call {bad.request_id} is refused: " in said
    assert "usage_event_adds_up" in said
    assert shop.customer_account.posted_nano == 10 * USD - 600


def test_one_segment_or_what_was_set_aside_can_be_replayed(shop: Shop, tmp_path: Path) -> None:
    first, second = finished(shop), finished(shop, router_id="r9", outcome="interrupted")
    journal(tmp_path / "8080", first)
    assert "1 new" in ledger("replay", tmp_path / "8080" / "00000001.journal")
    aside = LineFile(tmp_path / "8080-rejected.jsonl")
    aside.append(encode_record(second))
    aside.append(b"\xff no record")
    # The router runs again: what it set aside is none of its running streams.
    beat("r9")
    assert "1 new, 0 known already, 1 refused (1 of them unreadable), 0 streams" in failing(
        "replay", tmp_path / "8080-rejected.jsonl"
    )


def test_streams_of_a_router_that_is_there_are_its_own_to_settle(
    shop: Shop, tmp_path: Path
) -> None:
    beat("r1")
    journal(tmp_path, finished(shop, 3, outcome="interrupted"), finished(shop, 4))
    assert "1 new, 0 known already, 0 refused (0 of them unreadable), 1 streams" in ledger(
        "replay", tmp_path
    )
    assert "1 new, 1 known" in ledger("replay", tmp_path, "--force")


@pytest.mark.django_db
def test_a_path_that_is_no_journal_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "8080").mkdir()
    (tmp_path / "8080" / "00000001.journal").write_bytes(b"")
    with pytest.raises(CommandError, match="name one of its folders"):
        ledger("replay", tmp_path)
    with pytest.raises(CommandError, match="No such file"):
        ledger("replay", tmp_path / "nothing")


# --- verify ------------------------------------------------------------------------------------


def test_every_journalled_call_is_settled_or_waits(shop: Shop, tmp_path: Path) -> None:
    settled, waiting = finished(shop), finished(shop)
    settle(settled)
    journal(tmp_path, settled, waiting)
    said = ledger("verify", "--journal", tmp_path)
    assert "1 calls settled, 1 wait, 0 run" in said
    assert f"call {waiting.request_id} waits" in said
    assert "The ledger balances" in said


def test_a_call_that_waits_too_long_is_a_gap(shop: Shop, tmp_path: Path) -> None:
    minutes_ago = time.time_ns() // 1_000_000 - 90_000
    journal(tmp_path, finished(shop, created_at_ms=minutes_ago))
    assert "1 journalled calls wait longer than 60 s" in failing("verify", "--journal", tmp_path)
    assert "1 wait" in ledger("verify", "--journal", tmp_path, "--max-age", 600)
    # It is the end of a call that counts, not its beginning.
    journal(tmp_path / "b", finished(shop, created_at_ms=minutes_ago, total_ms=80_000.0))
    assert "1 wait" in ledger("verify", "--journal", tmp_path / "b")


def test_a_stream_that_runs_neither_waits_nor_differs(shop: Shop, tmp_path: Path) -> None:
    beat("r1")
    long_ago = time.time_ns() // 1_000_000 - 900_000
    one = finished(shop, created_at_ms=long_ago, outcome="interrupted")
    journal(tmp_path, one)
    assert "0 calls settled, 0 wait, 1 run" in ledger("verify", "--journal", tmp_path)
    settle(one)
    assert "1 calls settled, 0 wait, 0 run" in ledger("verify", "--journal", tmp_path)


def test_a_call_that_was_charged_something_else_is_a_gap(shop: Shop, tmp_path: Path) -> None:
    one = finished(shop, 30)
    journal(tmp_path, one)
    settle(msgspec.structs.replace(one, charge_nano=20, commission_nano=2))
    said = failing("verify", "--journal", tmp_path)
    assert f"call {one.request_id} is charged 20 nano, its journal says 30" in said


# --- write-off ---------------------------------------------------------------------------------


def test_a_router_that_is_lost_is_written_off_on_record(shop: Shop) -> None:
    account = shop.customer_account.pk
    kept = lease_take(account, 1, 50, router="r2")
    lost = lease_take(account, 1, 4 * USD)
    settle(finished(shop, USD, lease_id=lost))
    assert "$3 may be spent again" in ledger(
        "write-off", "r1", "--reason", "its disk is gone", "--by", "ana"
    )
    assert Lease.objects.get(state="open").pk == kept
    found = WriteOff.objects.get()
    assert (found.router_id, found.amount_nano, found.leases) == ("r1", 3 * USD, 1)
    assert (found.reason, found.by) == ("its disk is gone", "ana")
    for change in ("UPDATE billing_writeoff SET amount_nano = 0", "DELETE FROM billing_writeoff"):
        with pytest.raises(DatabaseError, match="refused"), transaction.atomic():
            as_owner(change)


def test_a_call_of_a_written_off_router_is_paid_by_the_account_or_the_platform(shop: Shop) -> None:
    account = shop.customer_account.pk
    lost = lease_take(account, 1, 9 * USD)
    ledger("write-off", "r1", "--reason", "gone")
    taken = lease_take(account, 1, 8 * USD, router="r2")
    settle(finished(shop, 5 * USD, lease_id=lost))
    cover = Transfer.objects.get(kind=TransferKind.COVER)
    assert cover.amount_nano == 3 * USD
    assert shop.customer_account.available_nano == 0
    assert Lease.objects.get(pk=taken).state == "open"
    said = ledger("verify")
    assert "The platform paid $3 for late calls" in said
    assert "The ledger balances" in said


def test_a_router_that_is_there_is_not_written_off_by_mistake(shop: Shop) -> None:
    lease_take(shop.customer_account.pk, 1, 50)
    beat("r1")
    with pytest.raises(CommandError, match="'r1' runs"):
        ledger("write-off", "r1", "--reason", "x")
    with pytest.raises(CommandError, match=r"no open lease; those that have: r1 \(1\)"):
        ledger("write-off", "r2", "--reason", "x")
    with pytest.raises(CommandError, match="blank"):
        ledger("write-off", "r1", "--reason", "", "--force")
    assert shop.customer_account.held_nano == 50
    assert "1 leases of r1 are closed" in ledger("write-off", "r1", "--reason", "x", "--force")


def test_a_router_that_is_connected_is_not_written_off(shop: Shop) -> None:
    lease_take(shop.customer_account.pk, 1, 50)
    with psycopg.connect(os.environ["DATABASE_URL"], dbname=connection.settings_dict["NAME"]) as on:
        on.execute(ALONE_SQL, ["r1"])
        with pytest.raises(CommandError, match="'r1' runs"):
            ledger("write-off", "r1", "--reason", "x")
        on.execute("SELECT pg_advisory_unlock_all()")  # As soon as PostgreSQL sees it gone.
    assert shop.customer_account.held_nano == 50
    ledger("write-off", "r1", "--reason", "x")
    assert shop.customer_account.held_nano == 0


# --- reconciliation ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alive", "age", "is_gap"),
    [
        (False, "4 minutes", False),
        (False, "6 minutes", True),
        (True, "59 minutes", False),
        (True, "61 minutes", True),
    ],
)
def test_a_lease_that_was_left_behind_is_a_gap(
    shop: Shop, alive: bool, age: str, is_gap: bool
) -> None:
    lease_take(shop.customer_account.pk, 1, 50)
    intrude(f"UPDATE billing_lease SET expires_at = now() - interval '{age}'")
    if alive:
        beat("r1")
    gaps = ledger_proof().gaps
    assert len(gaps) == is_gap
    assert all("router r1 left 50 nano leased" in gap for gap in gaps)
    assert all("start router r1 again, or write it off" in gap for gap in gaps)


@pytest.mark.parametrize(
    ("tampering", "gap"),
    [
        ("held_nano = 7", "holds 7 nano, its open leases have 10 left"),
        ("spent_nano = 21", "has 21 nano spent"),
        ("spent_nano = 19", "has 19 nano spent"),
    ],
)
def test_a_budget_that_does_not_follow_from_its_leases_is_a_gap(
    shop: Shop, tampering: str, gap: str
) -> None:
    budget = budget_set(organisation=shop.organisation, limit_nano=100)
    lease = lease_take(shop.customer_account.pk, 1, 30, budgets=(budget.pk,))
    settle(finished(shop, 20, lease_id=lease))
    assert ledger_proof().gaps == ()
    intrude(f"UPDATE billing_budget SET {tampering}")
    (found,) = ledger_proof().gaps
    assert found.startswith(f"budget {budget.pk} {gap}")


def test_a_budget_that_changed_its_window_still_follows_from_its_leases(shop: Shop) -> None:
    budget = budget_set(organisation=shop.organisation, limit_nano=100, window=Window.MONTH)
    intrude("UPDATE billing_budget SET window_starts_at = date_trunc('month', now(), 'UTC')")
    first = lease_take(shop.customer_account.pk, 1, 30, budgets=(budget.pk,))
    settle(finished(shop, 20, lease_id=first))
    changed = budget_set(organisation=shop.organisation, limit_nano=90, window=Window.DAY)
    assert changed.spent_nano == 20
    lease_close(first)
    second = lease_take(shop.customer_account.pk, 1, 1_000, budgets=(budget.pk,))
    assert Lease.objects.get(pk=second).amount_nano == 70
    settle(finished(shop, 5, lease_id=second))
    budget.refresh_from_db()
    assert budget.spent_nano == 25
    assert ledger_proof().gaps == ()


def test_a_lease_of_no_known_life_is_written_off_too(shop: Shop) -> None:
    call(
        "SELECT billing_lease_take(%s, 'old', '', %s, '{}', 1, 50, 60)",
        uuid.uuid4(),
        shop.customer_account.pk,
    )
    assert "1 leases of old are closed" in ledger("write-off", "old", "--reason", "x")
    assert shop.customer_account.held_nano == 0

"""Seals: proofs begin after the last one, and nobody changes what is under one unnoticed."""

from urllib.parse import urlsplit

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction

from marketplace.billing.models import ReconciliationReport, Seal, SealedSum
from marketplace.billing.proof.ledger import gaps_known, ledger_proof
from marketplace.billing.seals.services import signature_of, transfers_seal
from marketplace.billing.services import ledger_reconcile
from tests.databases import copied, named
from tests.integration.marketplace.ledger import call, credit_grant, intrude
from tests.integration.marketplace.shop import Shop


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    return kept_shop


def grants(shop: Shop, count: int) -> None:
    for _ in range(count):
        credit_grant(organisation=shop.organisation, amount_nano=7)


def recent_gaps() -> tuple[str, ...]:
    return ledger_proof(recent_only=True).gaps


def test_a_proof_counts_what_is_sealed_and_what_came_since(shop: Shop) -> None:
    grants(shop, 5)
    whole = ledger_proof()
    assert transfers_seal(rows_max=2) == whole.transfers
    assert transfers_seal() == 0
    grants(shop, 2)
    assert recent_gaps() == ledger_proof().gaps == ()
    assert ledger_proof(recent_only=True).transfers == whole.transfers + 2
    assert Seal.objects.count() == (whole.transfers + 1) // 2


def test_sealed_transfers_are_not_read_again(shop: Shop) -> None:
    grants(shop, 3)
    transfers_seal()
    # Both balances stay right, so that only the digest of the seal differs.
    intrude("UPDATE billing_transfer SET idem_key = idem_key || '!' WHERE kind = 'grant'")
    assert recent_gaps() == ()
    found = ledger_proof().gaps
    assert any("are not those of seal" in gap for gap in found), found


def test_the_last_proof_from_the_beginning_speaks_until_the_next(shop: Shop) -> None:
    grants(shop, 1)
    transfers_seal()
    intrude("UPDATE billing_transfer SET idem_key = idem_key || '!' WHERE kind = 'grant'")
    ledger_reconcile(whole=True)
    ledger_reconcile()
    assert [report.is_balanced for report in ReconciliationReport.objects.all()] == [True, False]
    assert len(gaps_known()) == 1
    intrude("UPDATE billing_transfer SET idem_key = rtrim(idem_key, '!') WHERE kind = 'grant'")
    ledger_reconcile(whole=True)
    assert gaps_known() == []


@pytest.mark.parametrize(
    ("forgery", "said"),
    [
        # An amount under a seal, with balances that fit it.
        (
            "UPDATE billing_transfer SET amount_nano = amount_nano + 5 WHERE kind = 'grant';"
            "UPDATE billing_account SET posted_nano = posted_nano + 5 * (SELECT count(*) FROM"
            " billing_transfer WHERE kind = 'grant' AND credit_id = billing_account.id)"
            " - 5 * (SELECT count(*) FROM billing_transfer WHERE kind = 'grant'"
            " AND debit_id = billing_account.id)",
            "caches",
        ),
        # The sums under it too.
        ("UPDATE billing_sealedsum SET amount_nano = amount_nano + 1", "sums of sealed transfers"),
        ("DELETE FROM billing_sealedsum", "sums of sealed transfers"),
        # The seal too, by whoever has all rights in the database.
        (
            "UPDATE billing_sealedsum SET amount_nano = amount_nano + 1;"
            "UPDATE billing_seal SET sums = billing_seal_sums()",
            "not signed",
        ),
        ("UPDATE billing_seal SET digest = sha256('')", "not signed"),
        ("UPDATE billing_seal SET through = through + 1000", "not signed"),
        ("UPDATE billing_seal SET signature = ''", "not signed"),
    ],
)
def test_what_is_forged_is_found_by_the_next_proof(shop: Shop, forgery: str, said: str) -> None:
    grants(shop, 2)
    transfers_seal()
    assert recent_gaps() == ()
    intrude(forgery)
    assert any(said in gap for gap in recent_gaps()), recent_gaps()


def test_a_transfer_slipped_in_below_a_seal_is_found(shop: Shop) -> None:
    grants(shop, 2)
    transfers_seal()
    intrude(
        "INSERT INTO billing_transfer (id, debit_id, credit_id, amount_nano, idem_key, kind)"
        " SELECT -1, debit_id, credit_id, 5, 'slipped in', kind FROM billing_transfer LIMIT 1;"
        "UPDATE billing_account a SET posted_nano = posted_nano + 5 FROM billing_transfer t"
        " WHERE t.id = -1 AND a.id = t.credit_id;"
        "UPDATE billing_account a SET posted_nano = posted_nano - 5 FROM billing_transfer t"
        " WHERE t.id = -1 AND a.id = t.debit_id"
    )
    assert any("caches" in gap for gap in recent_gaps())


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO billing_seal (through, transfers, digest, sums) VALUES (9, 9, '', '')",
        "UPDATE billing_sealedsum SET amount_nano = 0",
        "DELETE FROM billing_seal",
    ],
)
def test_the_services_do_not_write_seals_by_hand(shop: Shop, statement: str) -> None:
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        call(statement)


def test_a_new_key_signs_after_a_proof_from_the_beginning(shop: Shop, settings: object) -> None:
    grants(shop, 1)
    transfers_seal()
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another-key"  # type: ignore[attr-defined]
    assert any("manage.py ledger sign" in gap for gap in recent_gaps())
    settings.SECRET_KEY_FALLBACKS = [old]  # type: ignore[attr-defined]
    assert recent_gaps() == ()
    settings.SECRET_KEY_FALLBACKS = []  # type: ignore[attr-defined]
    call_command("ledger", "sign")
    assert recent_gaps() == ()
    last = Seal.objects.all()[0]
    assert bytes(last.signature) == signature_of(last, "another-key")
    intrude("UPDATE billing_transfer SET idem_key = idem_key || '!' WHERE kind = 'grant'")
    with pytest.raises(CommandError, match="nothing is signed"):
        call_command("ledger", "sign")


def test_months_are_summed_apart(shop: Shop) -> None:
    grants(shop, 2)
    transfers_seal()
    first = {(s.account_id, s.month): s.amount_nano for s in SealedSum.objects.all()}
    grants(shop, 1)
    transfers_seal()
    second = {(s.account_id, s.month): s.amount_nano for s in SealedSum.objects.all()}
    moved = {key: second[key] - first.get(key, 0) for key in second}
    assert sorted(filter(None, moved.values())) == [-7, 7]


def test_the_horizon_waits_for_a_transfer_under_way(postgres_url: str) -> None:
    """A number that is drawn and not yet committed must not end up below a seal."""
    with copied(postgres_url) as url, psycopg.connect(url) as sealing:
        with psycopg.connect(named(postgres_url, urlsplit(url).path[1:])) as writing:
            writing.execute("LOCK TABLE billing_transfer IN ROW EXCLUSIVE MODE")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                sealing.execute("SELECT billing_seals_horizon()")
            sealing.rollback()
        assert sealing.execute("SELECT billing_seals_horizon()").fetchone() == (0,)

"""Commands that come to the database as the owner of its tables."""

from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command

from marketplace.billing.proof.ledger import ledger_proof
from marketplace.usage.models import Span, UsageEvent, UsageRollup
from marketplace.usage.partitions import partition_names, partitions_detach
from marketplace.usage.services import figures_compute
from tests.bench.generate.__main__ import main as generate
from tests.bench.generate.history import Size, history_generate
from tests.integration.marketplace.ledger import call, settle
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.usage.charging import charged, millis


def test_old_months_are_taken_out_and_the_books_stay_proven(by_owner: None, shop: Shop) -> None:
    call("SELECT usage_partitions_make('2026-01-01+00', '2026-03-01+00')")
    for month in ("2026-01", "2026-02", "2026-03"):
        settle(charged(shop, created_at_ms=millis(f"{month}-15T00:00:00")))
    assert partitions_detach(before=datetime(2026, 1, 15, tzinfo=UTC)) == []
    call_command("usage", "detach", "--before", "2026-03")
    assert {"usage_event_2026_01", "usage_event_2026_02"} & set(partition_names()) == set()
    assert UsageEvent.objects.count() == 1
    assert call("SELECT count(*) FROM usage_event_2026_01") == [(1,)]
    assert UsageRollup.objects.filter(span=Span.DAY).count() == 3
    assert ledger_proof().gaps == ()


def test_rollups_of_months_that_were_taken_out_are_not_made_again(
    by_owner: None, shop: Shop
) -> None:
    call("SELECT usage_partitions_make('2026-01-01+00', '2026-01-01+00')")
    settle(charged(shop, created_at_ms=millis("2026-01-15T00:00:00")))
    call_command("usage", "detach", "--before", "2026-02")
    with pytest.raises(CommandError, match="before 2026-02-01 were taken out"):
        call_command("usage", "rebuild", "--from", "2026-01-31", "--until", "2026-02-02")
    assert UsageRollup.objects.filter(span=Span.DAY).count() == 1


def test_a_generated_history_leaves_the_books_proven(
    by_owner: None, db: None, capsys: pytest.CaptureFixture[str]
) -> None:
    history_generate(size=Size(rows=500, models=30, providers=4, days=3), progress=lambda _: None)
    assert UsageEvent.objects.count() == 500
    assert ledger_proof().gaps == ()
    assert call("SELECT count(*) FROM usage_event_default") == [(0,)]
    assert figures_compute() > 0
    with pytest.raises(SystemExit):
        generate(["history", "--yes"])
    assert "a generated history already" in capsys.readouterr().err


def test_verifying_says_where_only_triggers_protect_the_books(
    by_owner: None, db: None, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("ledger", "verify")
    assert "Only triggers protect the books: the services' role" in capsys.readouterr().out

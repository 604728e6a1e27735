"""Lists of calls by keyset, their sums and their file."""

import csv
import time
import uuid
from typing import Any

import pytest

from marketplace.accounts.services import api_key_create
from marketplace.usage.models import UsageEvent
from marketplace.usage.rollups.selectors import figures_by, rollups_of
from marketplace.usage.selectors import calls_in, calls_page
from tests.integration.marketplace.ledger import settle
from tests.integration.marketplace.shop import Shop, signed_in
from tests.integration.marketplace.usage.charging import MODELS, OUTCOMES, charged, millis, whole

pytestmark = pytest.mark.django_db


def settle_scattered(shop: Shop, count: int) -> list[uuid.UUID]:
    """Calls over many hours, some in the same millisecond; ids newest first."""
    now_ms = time.time_ns() // 1_000_000
    records = [
        charged(
            shop,
            created_at_ms=now_ms - (i // 3) * 1_700_000,
            model=MODELS[i % 7 == 0],
            outcome=OUTCOMES[(i % 5 == 0) + (i % 11 == 0)],
        )
        for i in range(count)
    ]
    settle(*records)
    return sorted((uuid.UUID(record.request_id) for record in records), reverse=True)


@pytest.mark.parametrize("count", [1, 3, 7, 50])
@pytest.mark.parametrize(
    "filters", [{}, {"model": MODELS[1]}, {"model": MODELS[0], "outcome": OUTCOMES[2]}]
)
def test_pages_of_calls_are_complete_and_without_repeats(
    shop: Shop, count: int, filters: dict[str, str]
) -> None:
    settle_scattered(shop, 61)
    window, seen, before = whole(shop.organisation.pk), [], None
    while True:
        rows, before = calls_page(
            shop.organisation.pk, window, before=before, count=count, **filters
        )
        seen += [row.pk for row in rows]
        if before is None:
            break
        assert len(rows) == count
    wanted = UsageEvent.objects.filter(**filters).order_by("-request_id")
    assert seen == list(wanted.values_list("pk", flat=True))
    assert seen


def test_a_page_costs_two_queries_however_many_calls_there_are(
    shop: Shop, django_assert_num_queries: Any
) -> None:
    settle_scattered(shop, 200)
    for count in (5, 50):
        with django_assert_num_queries(2):
            calls_page(shop.organisation.pk, whole(shop.organisation.pk), count=count)


def test_the_page_leads_to_older_calls_and_back(shop: Shop) -> None:
    ids = settle_scattered(shop, 60)
    client = signed_in(shop.owner)
    first = client.get("/usage?range=90d")
    assert [row.pk for row in first.context["calls"]] == ids[:50]
    assert f"before={first.context['older']}" in first.content.decode()
    rest = client.get(f"/usage?range=90d&before={first.context['older']}")
    assert [row.pk for row in rest.context["calls"]] == ids[50:]
    assert rest.context["older"] is None
    assert rest.context["totals"] == first.context["totals"]
    for before in ("nonsense", "ffffffff-ffff-ffff-ffff-ffffffffffff"):
        assert client.get(f"/usage?range=90d&before={before}").status_code == 200


def test_a_custom_range_ends_with_its_last_day(shop: Shop) -> None:
    inside, after = "2026-02-01T23:59:59.999", "2026-02-02T00:00:00"
    records = [charged(shop, created_at_ms=millis(at)) for at in (inside, after)]
    settle(*records)
    client = signed_in(shop.owner)
    page = client.get("/usage?range=custom&from=2026-02-01&to=2026-02-01")
    assert [str(row.pk) for row in page.context["calls"]] == [records[0].request_id]
    assert page.context["totals"].calls == 1


def test_times_before_there_were_ids_are_before_every_call(shop: Shop) -> None:
    settle(charged(shop))
    client = signed_in(shop.owner)
    found = client.get("/api/v1/usage?created_after=0001-01-01T00:00:00Z").json()["results"]
    assert len(found) == 1
    assert client.get("/api/v1/usage?created_before=1969-12-31T00:00:00Z").json()["results"] == []


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("model", {"a/one", "b/two"}),
        ("key", {"ours", "in the browser"}),
        ("member", {"owner@example.com", "by key"}),
        ("outcome", {"Completed", "Worker failed"}),
        ("nonsense", {"a/one", "b/two"}),
    ],
)
def test_usage_is_taken_apart(shop: Shop, by: str, names: set[str]) -> None:
    key, _ = api_key_create(organisation=shop.organisation, name="ours")
    settle(
        charged(shop, model="a/one", key_id=key.pk),
        charged(shop, model="b/two", user_id=shop.owner.pk, outcome="worker_failed"),
    )
    client = signed_in(shop.owner)
    groups = client.get(f"/usage?by={by}").context["summary"].groups
    assert {group.name for group in groups} == names
    assert [group.figures.calls for group in groups] == [1, 1]
    if by in ("key", "member"):
        value = next(group.value for group in groups if not group.name.startswith(("in", "by")))
        assert client.get(f"/usage?{by}={value}").context["totals"].calls == 1


def test_the_csv_has_every_call_of_the_window(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketplace.usage.selectors.CHUNK", 7)
    ids = settle_scattered(shop, 61)
    client = signed_in(shop.owner)

    def rows(query: str) -> list[dict[str, str]]:
        response = client.get(f"/usage.csv?range=90d&{query}")
        assert response.streaming
        return list(csv.DictReader(b"".join(response).decode().splitlines()))

    everything = rows("")
    assert [row["request_id"] for row in everything] == [str(test_id) for test_id in ids]
    assert {row["charge_nano"] for row in everything} == {"1000"}
    assert len(rows(f"model={MODELS[1]}")) == 9
    monkeypatch.setattr("marketplace.usage.pages.CSV_ROWS_MAX", 20)
    assert rows("") == everything[:20]


def test_calls_are_read_in_chunks(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketplace.usage.selectors.CHUNK", 2)
    settle_scattered(shop, 5)
    found = calls_in(shop.organisation.pk, whole(shop.organisation.pk), ["request_id"])
    assert len(set(found)) == 5


def test_an_organisation_reads_its_own_rollups(shop: Shop) -> None:
    settle(charged(shop))
    window = whole(shop.organisation.pk)
    assert figures_by(rollups_of(shop.organisation.pk, window), "model")["author/slug"].calls == 1
    assert figures_by(rollups_of(shop.organisation.pk + 1, window), "model") == {}

"""The usage page, its summary over the API, and the drawer of a call."""

from __future__ import annotations

import re
import time
from typing import Any

import msgspec
import pytest
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from marketplace.accounts.models import Membership, User
from marketplace.accounts.services import api_key_create, organisation_create
from marketplace.catalog.verdicts import TERMS
from marketplace.usage.decisions.tries import places, reasons, retries, tries
from marketplace.usage.models import Refusal
from marketplace.usage.refusals.selectors import KEPT, SHOWN_MAX, refusals_forget
from marketplace.usage.rollups.summary import GROUPS, GROUPS_MAX
from router.contracts.record import AttemptRecord, CandidateRecord, Candidates, TermsRecord
from router.domain.outcome import Outcome
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")

SUMMED = ("calls", "failed", "charge_nano", "tokens_in", "tokens_out")


def candidate(worker_id: str, verdict: str, score: float, **values: object) -> dict[str, Any]:
    place = {"deployment_id": 1, "pool": "fast", "wait_ms": 0.0, "service_ms": 100.0}
    return {**place, "worker_id": worker_id, "verdict": verdict, "score": score, **values}


def terms(ahead_ms: float, prefill_ms: float, decode_ms: float, others_ms: float) -> dict[str, Any]:
    tokens = {"prompt_tokens": 1_500, "cached_tokens": 640, "answer_tokens": 20}
    times = {"ahead_ms": ahead_ms, "prefill_ms": prefill_ms, "decode_ms": decode_ms}
    return {**times, "others_ms": others_ms, **tokens}


def attempt(worker_id: str, outcome: str, queue_ms: float) -> dict[str, Any]:
    return {"worker_id": worker_id, "outcome": outcome, "queue_ms": queue_ms, "upstream_ms": 9.0}


@pytest.mark.parametrize("by", GROUPS)
def test_groups_and_others_add_up_to_the_totals(shop: Shop, owner: Client, by: str) -> None:
    other = User.objects.create_user("other@example.com")
    Membership.objects.create(organisation=shop.organisation, user=other)
    key, _ = api_key_create(organisation=shop.organisation, name="nightly")
    settled_call(shop, user_id=shop.owner.pk)
    settled_call(shop, user_id=other.pk, outcome="worker_failed")
    for i in range(GROUPS_MAX + 2):
        settled_call(shop, key_id=key.pk + i, user_id=9_000 + i, model=f"author/m{i}")
    found = owner.get(f"/api/v1/usage/summary?organisation=acme&by={by}").json()
    assert found["totals"]["calls"] == GROUPS_MAX + 4
    for name in SUMMED:
        parts = [*(group["figures"] for group in found["groups"]), found["others"]]
        assert sum(part[name] for part in parts) == found["totals"][name], name
        assert sum(step["figures"][name] for step in found["steps"]) == found["totals"][name], name


def test_every_part_of_a_summary_with_calls_has_its_latencies(shop: Shop, owner: Client) -> None:
    for i in range(GROUPS_MAX):
        settled_call(shop, model=f"author/m{i}", streamed=True)
    # Of equal charges, names decide.
    settled_call(shop, model="author/z", streamed=True, ttft_ms=80.0, total_ms=90.0)
    found = owner.get("/api/v1/usage/summary?organisation=acme").json()
    (step,) = [step["figures"] for step in found["steps"] if step["figures"]["calls"]]
    others = found["others"]
    for figures in (step, found["totals"]):
        assert figures["ttft_ms_p50"] == pytest.approx(10, rel=0.42)
        assert figures["total_ms_p50"] == pytest.approx(30, rel=0.42)
    assert (found["others_count"], others["calls"]) == (1, 1)
    assert others["ttft_ms_p50"] == pytest.approx(80, rel=0.42)
    assert others["total_ms_p99"] == pytest.approx(90, rel=0.42)


@pytest.mark.parametrize("name", ["key", "member"])
def test_the_largest_id_is_a_filter_as_any_other(shop: Shop, owner: Client, name: str) -> None:
    settled_call(shop)
    query = f"/api/v1/usage/summary?organisation=acme&{name}="
    assert owner.get(f"{query}{2**63 - 1}").json()["totals"]["calls"] == 0
    assert owner.get(f"{query}{2**63}").status_code == 400
    assert owner.get(f"/usage?{name}={2**63 - 1}").context["totals"].calls == 0
    for none in (2**63, "9" * 5_000):
        assert owner.get(f"/usage?{name}={none}").context["totals"].calls == 1


def test_refused_calls_are_shown_by_reason(shop: Shop, owner: Client) -> None:
    now = timezone.now()
    hour = now.replace(minute=0, second=0, microsecond=0)
    of = {"starts_at": hour, "user_id": 0, "model": shop.model.name}
    mine = {**of, "organisation_id": shop.organisation.pk}
    Refusal.objects.create(**mine, key_id=1, code="rate_limited", calls=4_000)
    Refusal.objects.create(**mine, key_id=2, code="rate_limited", calls=2)
    Refusal.objects.create(**mine, key_id=2, code="strange", calls=1)
    Refusal.objects.create(**{**mine, "starts_at": hour - KEPT}, key_id=2, code="old", calls=1)
    Refusal.objects.create(**of, organisation_id=0, key_id=1, code="anothers", calls=9)

    def shown(query: str = "") -> list[tuple[str, int]]:
        page = owner.get(f"/usage?range=24h{query}")
        return [(item.code, item.calls) for item in page.context["refused"]]

    assert shown() == [("rate_limited", 4_002), ("strange", 1)]
    assert shown("&key=2") == [("rate_limited", 2), ("strange", 1)]
    assert shown("&model=no/such") == shown("&outcome=completed") == []
    page = owner.get("/usage?range=24h").content.decode()
    assert "4,003" in page
    assert "limit per minute was reached" in page
    assert refusals_forget() == 1
    for number in range(SHOWN_MAX):
        Refusal.objects.create(**mine, key_id=3, code=f"rare-{number}", calls=1)
    page = owner.get("/usage?range=24h")
    assert len(page.context["refused"]) == SHOWN_MAX
    assert page.context["refused_calls"] == 4_003 + SHOWN_MAX


@pytest.mark.parametrize("filters", ["", "&model=author/m1", "&outcome=completed"])
def test_figures_are_the_same_however_they_are_taken_apart(
    shop: Shop, owner: Client, filters: str
) -> None:
    """Whichever rollups they are read from."""
    for i in range(6):
        settled_call(
            shop,
            key_id=i % 2,
            user_id=i,
            model=f"author/m{i % 3}",
            outcome=("completed", "truncated")[i % 4 == 3],
            ttft_ms=2.0**i,
            total_ms=3.0**i,
        )
    by_what = [
        owner.get(f"/api/v1/usage/summary?organisation=acme&by={by}{filters}").json()
        for by in GROUPS
    ]
    for found in by_what:
        assert found["totals"]["calls"] == {"": 6, "&model=author/m1": 2}.get(filters, 5)
        assert found["totals"] == by_what[0]["totals"]
        assert found["steps"] == by_what[0]["steps"]


def test_page_and_api_say_the_same(shop: Shop, owner: Client) -> None:
    key, _ = api_key_create(organisation=shop.organisation, name="nightly")
    settled_call(shop, key_id=key.pk)
    settled_call(shop, user_id=shop.owner.pk)
    found = owner.get("/api/v1/usage/summary?organisation=acme&by=key").json()
    assert {group["name"] for group in found["groups"]} == {"nightly", "in the browser"}
    page = owner.get("/usage?by=key").content.decode()
    foot = page.split("<tfoot>")[1].split("</tfoot>")[0]
    assert re.findall(r">([^<]+)</td>", foot)[0] == str(found["totals"]["calls"]) == "2"
    only = owner.get(f"/usage?key={key.pk}&by=key").content.decode()
    assert re.findall(r">([^<]+)</td>", only.split("<tfoot>")[1])[0] == "1"
    assert f'<option value="{key.pk}" selected>nightly</option>' in only


@pytest.mark.parametrize(
    ("query", "named"),
    [("model=author/gone", "author/gone"), ("key=4711", "deleted key"), ("member=4711", "former")],
)
def test_the_filter_in_force_is_chosen_though_nothing_was_called(
    owner: Client, query: str, named: str
) -> None:
    page = owner.get(f"/usage?range=6h&{query}").content.decode()
    assert re.search(rf" selected>{named}[^<]*</option>", page)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "organisation"),
        ("organisation=acme&range=1y", "range"),
        ("organisation=acme&by=colour", "by"),
        ("organisation=acme&key=-1", "key"),
        ("organisation=acme&range=custom&from=2026-02-01", "from"),
        ("organisation=acme&range=custom&from=2026-02-02&to=2026-02-01", "from"),
        ("organisation=acme&range=custom&from=2001-01-01&to=2026-02-01", "from"),
    ],
)
def test_a_summary_that_cannot_be_made_says_why(owner: Client, query: str, field: str) -> None:
    answer = owner.get(f"/api/v1/usage/summary?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field


def test_a_summary_is_for_members(shop: Shop) -> None:
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    client = signed_in(stranger)
    assert client.get("/api/v1/usage/summary?organisation=acme").status_code == 404


@pytest.mark.parametrize("path", ["/usage?by=key", "/api/v1/usage/summary?organisation=acme"])
def test_more_calls_cost_no_more_queries(
    shop: Shop, owner: Client, path: str, django_assert_max_num_queries: Any
) -> None:
    def grow(count: int) -> None:
        for i in range(count):
            key, _ = api_key_create(organisation=shop.organisation, name=f"k{i}")
            settled_call(shop, key_id=key.pk, user_id=shop.owner.pk)

    grow(2)
    owner.get(path)
    with CaptureQueriesContext(_connection()) as few:
        owner.get(path)
    grow(6)
    with django_assert_max_num_queries(len(few)):
        assert owner.get(path).status_code == 200


def _connection() -> Any:
    from django.db import connection

    return connection


def test_a_call_that_failed_says_by_which_error(shop: Shop, owner: Client) -> None:
    failed = settled_call(shop, outcome=Outcome.REJECTED, http_status=429, error="queue_full")
    page = owner.get(f"/usage/{failed}").text
    assert "The call ended with the error queue_full." in page
    assert 'href="/docs/reference/errors/"' in page
    assert "ended with the error" not in owner.get(f"/usage/{settled_call(shop)}").text


def test_a_drawer_is_the_record_without_the_frame(shop: Shop, owner: Client) -> None:
    request_id = settled_call(shop)
    page = owner.get(f"/usage/{request_id}")
    drawer = owner.get(f"/usage/{request_id}", headers={"HX-Request": "true"})
    boosted = {"HX-Request": "true", "HX-Boosted": "true"}
    assert b"<html" in page.content
    assert b"<html" not in drawer.content
    assert b"<html" in owner.get(f"/usage/{request_id}", headers=boosted).content
    assert "HX-Request" in drawer.headers["Vary"]
    for said in (b"Why this route?", b"Attempts", b"Cost"):
        assert said in drawer.content
    listed = owner.get("/usage").content.decode()
    # Without script the link leads to the page.
    assert f'href="/usage/{request_id}" hx-get="/usage/{request_id}"' in listed


def test_the_decision_in_words() -> None:
    found = places(
        [
            candidate("c", "unhealthy", 0.0),
            candidate("b", "slower", 0.4),
            candidate("a", "chosen", 0.1496),
        ]
    )
    assert [place.candidate["worker_id"] for place in found] == ["a", "b", "c"]
    assert [round(place.rest, 3) for place in found] == [0.05, 0.3, 0.0]
    assert reasons(found) == [
        "a was chosen out of 3: it had the lowest score, 0.150.",
        "b: free, but expected to take longer; 250 ms behind in the score",
        "c: does not pass its health checks now",
    ]
    only = reasons(places([candidate("a", "chosen", 1)]))
    assert only == ["a was the only option for this call."]
    # Of a call that another provider failed first, the last try weighed one place alone.
    sent = tries([attempt("b", "worker_failed:reset", 0), attempt("a", "completed", 9)])
    left = reasons(places([candidate("a", "chosen", 1)]), sent)
    assert left == ["a was the only option left after the earlier attempts."]
    many = [candidate("a", "chosen", 0), *(candidate(f"b{i}", "tied", 0) for i in range(8))]
    assert reasons(places(many))[-1] == "2 more were not chosen: see the table."
    cheap = [candidate("a", "chosen", 0.1), candidate("b", "slower", 0.4, penalty_ms=250.0)]
    assert [(round(one.penalty, 3), round(one.rest, 3)) for one in places(cheap)] == [
        (0.0, 0.0),
        (0.25, 0.05),
    ]
    assert reasons(places(cheap))[1].endswith("(most of it: price and preferences)")
    assert reasons([]) == []


def test_an_engine_that_lost_says_which_part_of_its_cost_was_it() -> None:
    chosen = candidate("a", "chosen", 0.1, terms=terms(10, 20, 30, 40))
    queued = candidate("b", "slower", 0.3, terms=terms(190, 30, 40, 40))
    mixed = candidate("c", "slower", 0.31, terms=terms(90, 90, 90, 40))
    slots = candidate("d", "slower", 0.32)
    said = reasons(places([chosen, queued, mixed, slots]))[1:]
    slower = "free, but expected to take longer"
    assert said == [
        f"b: {slower}; 200 ms behind in the score (most of it: prompts ahead)",
        f"c: {slower}; 210 ms behind in the score",
        f"d: {slower}; 220 ms behind in the score",
    ]


def test_a_record_shows_of_what_each_engines_score_was_made(shop: Shop, owner: Client) -> None:
    received = TermsRecord(12.0, 34.0, 56.0, 78.0, 1_500, 640, 20)
    engine = CandidateRecord(1, "fast-0", "fast", "chosen", 0.0, 102.0, 0.18, received)
    slots = CandidateRecord(2, "fast-1", "fast", "slower", 0.0, 300.0, 0.3)
    call = settled_call(shop, candidates=Candidates(lambda: (engine, slots)))
    page = owner.get(f"/usage/{call}")
    (stack,) = page.context["engines"]
    assert [part.name for part in stack.parts] == list(TERMS)
    assert [part.took_ms for part in stack.parts] == [0.0, 12.0, 34.0, 56.0, 78.0, 0.0]
    assert [part.begins_ms for part in stack.parts] == [0.0, 0.0, 12.0, 46.0, 102.0, 180.0]
    assert stack.total_ms == 180.0
    shown = page.content.decode()
    for said in ("What each engine would take", "Slowing others", "640 of 1,500 tokens", "180 ms"):
        assert said in shown
    portuguese = owner.get(f"/usage/{call}", headers={"Accept-Language": "pt-BR"})
    assert "Quanto cada motor levaria" in portuguese.content.decode()
    assert "escolhido" in portuguese.content.decode()
    kept = owner.get(f"/api/v1/usage/{call}").json()["candidates"]
    assert kept[0]["terms"] == msgspec.to_builtins(received)
    assert "terms" not in kept[1]


def test_a_call_of_slots_alone_has_no_engines(shop: Shop, owner: Client) -> None:
    slots = CandidateRecord(1, "fast-0", "fast", "chosen", 0.0, 300.0, 0.3)
    page = owner.get(f"/usage/{settled_call(shop, candidates=Candidates(lambda: (slots,)))}")
    assert page.context["engines"] == []
    assert "What each engine would take" not in page.content.decode()


def test_the_tries_in_words() -> None:
    sent = tries([attempt("b", "completed", 40), attempt("a", "outrun", 10)])
    assert [message.attempt["worker_id"] for message in sent] == ["a", "b"]
    assert retries(sent) == ["a was late, so the call was also sent to another worker, which won."]
    failed = tries([attempt("a", "worker_failed:reset", 0), attempt("b", "completed", 9)])
    assert "a did not answer correctly (worker_failed:reset)" in retries(failed)[0]
    assert [one.outcome for one in failed] == ["Worker failed: reset", "Completed"]
    assert retries(tries([attempt("a", "worker_failed", 0)])) == []
    # The late first try may win after all.
    first_won = tries([attempt("a", "completed", 10), attempt("b", "outrun", 40)])
    assert retries(first_won) == [
        "The call was also sent to b, because an earlier attempt was late. The earlier attempt won."
    ]
    # Nothing took over from the last one that failed.
    both = tries([attempt("a", "worker_failed:reset", 0), attempt("b", "timeout", 9)])
    assert retries(both) == [
        "a did not answer correctly (worker_failed:reset). Another worker took over.",
        "b did not answer correctly (timeout). There was no further attempt.",
    ]


def test_what_a_late_try_took_is_not_called_waiting(owner: Client, shop: Shop) -> None:
    late = AttemptRecord(shop.deployment.pk, "slow-0", "slow", "outrun", 5.0, 900.0)
    won = AttemptRecord(shop.deployment.pk, "fast-0", "fast", "completed", 805.0, 100.0)
    hedged = settled_call(shop, attempts=(won, late), queue_ms=805.0, ttft_ms=880.0, total_ms=905.0)
    page = owner.get(f"/usage/{hedged}")
    assert (page.context["waited_ms"], page.context["hedged_ms"]) == (5.0, 800.0)
    assert "A late attempt" in page.content.decode()
    lines = b"".join(owner.get("/usage.csv").streaming_content).decode().splitlines()  # type: ignore[attr-defined]
    row = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    assert (float(row["queue_ms"]), float(row["hedge_ms"])) == (5.0, 800.0)
    staff = signed_in(User.objects.create_superuser("root@example.com"))
    page = staff.get(f"/support/calls/{hedged}")
    assert (page.context["waited_ms"], page.context["hedged_ms"]) == (5.0, 800.0)
    again = msgspec.structs.replace(late, outcome="worker_failed:reset", upstream_ms=700.0)
    retried = settled_call(
        shop, attempts=(won, again), queue_ms=805.0, ttft_ms=880.0, total_ms=905.0
    )
    page = owner.get(f"/usage/{retried}")
    assert page.context["hedged_ms"] == 0.0
    assert "A late attempt" not in page.content.decode()


def test_the_charts_are_also_a_table(owner: Client, shop: Shop) -> None:
    settled_call(shop)
    without = owner.get("/usage?range=24h")
    assert "?range=24h&amp;steps=1" in without.content.decode()
    shown = owner.get("/usage?range=24h&steps=1")
    rows = [page.content.decode().count("<tr>") for page in (without, shown)]
    assert rows[1] - rows[0] == len(shown.context["summary"].steps) + 1


def test_a_call_says_what_it_was_told_as_it_waited_and_in_which_class_it_paid(
    shop: Shop, owner: Client
) -> None:
    request_id = settled_call(
        shop, place=3, eta_ms=1_500.0, queue_ms=2_250.0, total_ms=3_000.0, price_class="batch"
    )
    page = owner.get(f"/usage/{request_id}").content.decode()
    assert "place 3 in the queue, expected start in 1.50 s. It started after 2.25 s." in page
    assert "<dt>Price class</dt><dd>Batch" in page
    portuguese = {"Accept-Language": "pt-BR"}
    page = owner.get(f"/usage/{request_id}", headers=portuguese).content.decode()
    assert "posição 3 na fila, início previsto em 1,50 s" in page
    assert "<dt>Classe de preço</dt><dd>Lote" in page


def test_figures_are_compared_with_those_of_the_time_before(shop: Shop, owner: Client) -> None:
    days_ago_ms = {days: int((time.time() - days * 86_400) * 1_000) for days in (0, 9, 20)}
    for days in (0, 0, 0, 9, 9, 20):
        settled_call(shop, created_at_ms=days_ago_ms[days])
    page = owner.get("/usage?range=7d")
    totals, before = page.context["totals"], page.context["before"]
    assert (totals.calls, before.calls, before.charge_nano) == (3, 2, 40_000)
    assert "+50 %" in page.content.decode()
    assert owner.get("/usage?range=7d&model=none/such").context["before"].calls == 0

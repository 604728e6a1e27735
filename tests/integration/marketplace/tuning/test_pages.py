"""A route's page and its API: who may, what is shown, and what each button does."""

import re
from typing import Any

import pytest
from django.test import Client

from marketplace.accounts.models import User
from marketplace.benchmarks.models import Benchmark, Profile, Scenario, Target
from marketplace.routing.models import PolicyKind, PolicyState
from marketplace.routing.services import policy_publish
from marketplace.routing.trials.evidence import Bias, ByHand, Calibrated
from marketplace.routing.trials.models import Aim, RoutingEvent, Straggler, Trial
from marketplace.tuning.services import (
    canary_steer,
    policy_in_force,
    policy_propose,
    trial_approve,
    tuning_of,
)
from tests.integration.marketplace.shop import Shop, signed_in
from tests.integration.marketplace.tuning.looping import (
    around,
    calls,
    running_trial,
    second_deployment,
)

pytestmark = pytest.mark.usefixtures("kept_shop")

ROUTE = "/routes/author/slug"


@pytest.fixture
def page(admin: User) -> Client:
    return signed_in(admin)


def text_of(client: Client, path: str = ROUTE) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return " ".join(re.sub(r"<[^>]*>", " ", answer.content.decode()).split())


def proposed(shop: Shop) -> Trial:
    return policy_propose(
        model=shop.model,
        changes={"weights": {str(shop.deployment.pk): 0.8}},
        aim=Aim.LATENCY,
        evidence=Calibrated(
            minutes=30,
            biases=(Bias(shop.deployment.pk, samples=400, ratio=2.0, low=1.9, high=2.1),),
            before={},
            after={str(shop.deployment.pk): 0.8},
        ),
    )


@pytest.mark.parametrize("path", [ROUTE, "/routes"])
def test_only_staff_see_routes(shop: Shop, path: str) -> None:
    assert Client().get(path).status_code == 302
    member = signed_in(shop.owner)
    assert member.get(path).status_code == 403
    assert member.post(f"{ROUTE}/tune").status_code == 403


def test_a_route_without_anything_says_so(page: Client, shop: Shop) -> None:
    text = text_of(page)
    assert "the router's defaults apply" in text.replace("&#x27;", "'")
    assert "No proposal yet" in text
    assert page.get("/routes/author/none").status_code == 404
    assert f'href="{ROUTE}"' in page.get("/routes").content.decode()


def test_a_proposal_is_shown_with_its_evidence_and_approved(page: Client, shop: Shop) -> None:
    trial = proposed(shop)
    text = text_of(page)
    assert "northyard · fast: 400 calls of 30 minutes took 2 (1.9 to 2.1) times" in text
    assert "weight of northyard · fast 1 0.8" in text
    assert "Try on 10 % of the calls" in text.replace("10.0", "10")
    assert page.post(f"/proposals/{trial.pk}/approve").headers["Location"] == ROUTE
    trial.policy.refresh_from_db()
    assert trial.policy.state == PolicyState.CANARY
    assert "No results yet" in text_of(page)
    assert page.post(f"/proposals/{trial.pk}/approve").status_code == 422
    page.post(f"/proposals/{trial.pk}/rollback", {"why": "looks odd", "confirmed": "1"})
    text = text_of(page)
    assert "A person ended it." in text
    assert "looks odd" in text


def test_a_running_trial_shows_both_arms(page: Client, shop: Shop, admin: User) -> None:
    trial = running_trial(shop, admin)
    calls(shop.deployment, around(200.0, 300, 1), policy=trial.baseline_id)
    calls(shop.deployment, around(190.0, 100, 2), policy=trial.policy_id)
    canary_steer(trial.pk)
    body = page.get(ROUTE).content.decode()
    assert 'data-chart="ratio low high"' in body
    assert '"at": [100]' in body
    assert "Under trial 100 0 0.00 %" in text_of(page)


def test_a_proposal_can_be_dismissed_and_a_version_published_again(
    page: Client, shop: Shop
) -> None:
    trial = proposed(shop)
    page.post(f"/proposals/{trial.pk}/dismiss", {"why": "no"})
    trial.policy.refresh_from_db()
    assert trial.policy.state == PolicyState.DISMISSED
    policy_publish(model=shop.model, kind=PolicyKind.C3)
    text = text_of(page, f"{ROUTE}?from=1&to=3")
    assert "Kind Late binding: lowest expected time to finish C3" in text
    assert page.post(f"{ROUTE}/revert", {"version": "1", "confirmed": "1"}).status_code == 302
    in_force = policy_in_force(shop.model)
    assert in_force is not None
    assert (in_force.version, in_force.kind) == (4, PolicyKind.LATE_BINDING)
    assert page.post(f"{ROUTE}/revert", {"version": "99"}).status_code == 422
    assert page.post(f"{ROUTE}/revert", {"version": "x"}).status_code == 422


def test_settings_are_saved_or_refused_with_a_reason(page: Client, shop: Shop) -> None:
    values = {
        "mode": "automatic",
        "canary_percent": "5",
        "slo_ms": "800",
        "budget_percent": "0.5",
        "samples_min": "300",
    }
    assert page.post(f"{ROUTE}/tune", values).status_code == 302
    tuning = tuning_of(shop.model)
    assert (tuning.mode, tuning.canary_share, tuning.slo_ms) == ("automatic", 0.05, 800.0)
    assert (tuning.error_budget, tuning.samples_min) == (0.005, 300)
    assert "slo_ms: 5000.0 → 800.0" in RoutingEvent.objects.get().why
    answer = page.post(f"{ROUTE}/tune", {**values, "canary_percent": "80"})
    assert answer.status_code == 422
    assert 'role="alert"' in answer.content.decode()


def test_a_straggler_is_shown_beside_its_worker(page: Client, shop: Shop) -> None:
    evidence: dict[str, Any] = {
        "ratio": 4.0,
        "low": 3.0,
        "high": 5.0,
        "samples": 9,
        "pool_samples": 80,
        "expected_ratio": 3.5,
        "share_before": 0.33,
        "share_now": 0.08,
    }
    Straggler.objects.create(worker=shop.worker, deployment=shop.deployment, evidence=evidence)
    text = text_of(page, "/routes").replace("&#x27;", "'")
    assert "4.00 times its peers' service time (3.00 to 5.00; 9 calls against 80)" in text
    assert "The router now expects it to take 3.50 times as long as they do." in text
    assert "Its share of the calls is 8.0 % , and was 33.0 %" in text.replace("8.0 %,", "8.0 % ,")


def benchmark(shop: Shop, service_ms: float) -> Benchmark:
    row = Benchmark.objects.create(
        model=shop.model,
        target=Target.DEPLOYMENT,
        deployment=shop.deployment,
        scenario=Scenario.SINGLE_STREAM,
    )
    Profile.objects.create(
        deployment=shop.deployment,
        benchmark=row,
        service_ms=service_ms,
        samples=500,
        source="a test",
    )
    return row


def test_a_benchmark_proposes_a_weight(page: Client, shop: Shop, admin: User) -> None:
    calls(shop.deployment, around(100.0, 50), expected_ms=100.0)
    row = benchmark(shop, 50.0)
    assert page.post(f"/benchmarks/{row.pk}/propose").headers["Location"] == ROUTE
    trial = Trial.objects.get()
    assert trial.policy.weights == {str(shop.deployment.pk): 1.2}
    assert trial.asked_by == admin
    assert f"Benchmark {row.pk} measured 50 ms (500 samples)" in text_of(page).replace("50.0", "50")
    assert page.post(f"/benchmarks/{row.pk}/propose").status_code == 422  # One is open.


def test_a_benchmark_that_says_nothing_new_is_refused(page: Client, shop: Shop) -> None:
    calls(shop.deployment, around(100.0, 50), expected_ms=100.0)
    same = benchmark(shop, 101.0)
    assert page.post(f"/benchmarks/{same.pk}/propose").status_code == 422
    empty = Benchmark.objects.create(
        model=shop.model, target=Target.ROUTE, scenario=Scenario.SERVER
    )
    assert page.post(f"/benchmarks/{empty.pk}/propose").status_code == 422
    assert not Trial.objects.exists()


def test_the_api_is_for_staff_and_does_what_the_page_does(
    page: Client, shop: Shop, admin: User
) -> None:
    member = signed_in(shop.owner)
    assert member.get("/api/v1/proposals").status_code == 403
    assert member.get("/api/v1/route-tunings").status_code == 403
    trial = proposed(shop)
    (row,) = page.get("/api/v1/proposals").json()["results"]
    assert (row["model"], row["state"], row["asked_by"]) == ("author/slug", "proposed", "loop")
    assert row["because"][0].startswith("northyard · fast: 400 calls")
    path = f"/api/v1/proposals/{trial.pk}"
    assert "looks" not in row
    assert page.get(path).json()["looks"] == []
    assert page.post(f"{path}/approve").json()["state"] == "canary"
    again = page.post(f"{path}/approve")
    assert again.status_code == 400
    assert "Under trial" in again.json()["detail"]
    why = {"why": "no"}
    assert page.post(f"{path}/rollback", why, "application/json").json()["state"] == "rolled_back"
    other = policy_propose(
        model=shop.model, changes={"wait_weight": 6.0}, aim=Aim.NOT_WORSE, evidence=ByHand()
    )
    path = f"/api/v1/proposals/{other.pk}"
    assert page.post(f"{path}/dismiss", why, "application/json").json()["state"] == "dismissed"
    (tuning,) = page.get("/api/v1/route-tunings").json()["results"]
    path = f"/api/v1/route-tunings/{tuning['id']}"
    assert page.patch(path, {"mode": "off"}, "application/json").json()["mode"] == "off"
    assert page.patch(path, {"canary_share": 0.9}, "application/json").status_code == 400
    assert tuning_of(shop.model).mode == "off"


def test_words_are_for_every_ending(page: Client, shop: Shop, admin: User) -> None:
    trial = trial_approve(trial=proposed(shop), by=admin)
    for because in ("better", "misses", "slower", "budget", "time", "person", "superseded"):
        Trial.objects.filter(pk=trial.pk).update(ended_because=because, ended_at=trial.started_at)
        assert f"> {because} <" not in page.get(ROUTE).content.decode()
        assert because not in re.findall(
            r'class="notice[^>]*>(\w+)<', page.get(ROUTE).content.decode()
        )


def test_odd_words_are_no_fault_of_ours(page: Client, shop: Shop) -> None:
    trial = proposed(shop)
    assert page.post(f"/proposals/{trial.pk}/dismiss", {"why": "a\x00b"}).status_code == 400
    assert page.post(f"/proposals/{trial.pk}/dismiss", {"why": "x" * 5_000}).status_code == 302
    assert set(RoutingEvent.objects.latest("id").why) == {"x"}


@pytest.mark.parametrize("version", ["9" * 30, "9" * 5_000, ""])
def test_a_version_that_cannot_be_is_refused(page: Client, shop: Shop, version: str) -> None:
    assert page.post(f"{ROUTE}/revert", {"version": version}).status_code == 422


@pytest.mark.parametrize("figure", ["nan", "inf", "-inf"])
def test_a_figure_that_is_no_number_is_refused(page: Client, shop: Shop, figure: str) -> None:
    tuning = tuning_of(shop.model)
    for name in ("slo_ms", "canary_share", "error_budget"):
        path = f"/api/v1/route-tunings/{tuning.pk}"
        assert page.patch(path, {name: figure}, "application/json").status_code == 400
    for name in ("wait_weight", "hedge_share", "usd_weight_s"):
        policy = {"model": shop.model.name, name: figure}
        assert page.post("/api/v1/policies", policy, "application/json").status_code == 400
    assert not policy_in_force(shop.model)


def test_a_benchmark_of_larger_requests_is_no_slower_hardware(
    page: Client, shop: Shop, admin: User
) -> None:
    # Traffic asks for half as much as the benchmark did, of this deployment as of the others.
    other = second_deployment(shop)
    Profile.objects.create(deployment=other, service_ms=400.0, published=True, source="a test")
    calls(shop.deployment, around(100.0, 50), expected_ms=100.0)
    calls(other, around(200.0, 50), worker="slow-0", expected_ms=200.0)
    same = benchmark(shop, 201.0)
    assert page.post(f"/benchmarks/{same.pk}/propose").status_code == 422
    twice_as_fast = benchmark(shop, 100.0)
    assert page.post(f"/benchmarks/{twice_as_fast.pk}/propose").status_code == 302
    assert Trial.objects.get().policy.weights == {str(shop.deployment.pk): 1.2}

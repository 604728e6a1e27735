"""Pilots: measuring what an answer doubts."""

import pytest

from marketplace.benchmarks.loadgen.plan import (
    COMPLETION_TOKENS_MAX,
    PROMPT_TOKENS_MAX,
    ROWS_MAX,
    SLO_MS_MAX,
    plan_of,
)
from marketplace.benchmarks.models import Benchmark, Profile, Trigger
from marketplace.planning.advisor import services
from marketplace.planning.advisor.question import Question
from tests.integration.marketplace.planning.advisor.yards import ASKED, member
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_staff_start_a_pilot_where_the_answer_has_doubts(yard: Shop) -> None:
    Profile.objects.update(samples=3)
    advice = services.advice_make(
        organisation=yard.organisation, user=None, question=Question(**ASKED), check=False
    )
    staff = member(yard, staff=True)
    page = staff.get(f"/advisor/{advice.pk}").content.decode()
    assert "Start pilot" in page
    assert "too few samples were measured" in page
    path = f"/api/v1/advice/{advice.pk}/pilot"
    body = {"deployment": yard.deployment.pk}
    made = staff.post(path, body, content_type="application/json")
    assert made.status_code == 201
    benchmark = Benchmark.objects.get(pk=made.json()["benchmark"])
    assert (benchmark.trigger, benchmark.deployment) == (Trigger.PILOT, yard.deployment)
    assert benchmark.settings["slo_ms"] == 900
    wrong = staff.post(path, {"deployment": 999_999}, content_type="application/json")
    assert wrong.status_code == 400


def test_a_pilot_is_a_benchmark_that_can_run_and_that_makes_a_profile(yard: Shop) -> None:
    Profile.objects.update(samples=3)
    large = {"prompt_tokens": 100_000, "completion_tokens": 20_000, "rows": 9_000}
    large |= {"rate_hz": 0.01, "slo_ms": 1_000_000}
    advice = services.advice_make(
        organisation=yard.organisation,
        user=None,
        question=Question(**{**ASKED, **large}),
        check=False,
    )
    asked = services.pilot_start(advice=advice, deployment_id=yard.deployment.pk, user=None)
    plan = plan_of(yard.model.task, {k: v for k, v in asked.settings.items() if k != "task"})
    # Rates make no profile, and the answer's doubt would stay: loads are concurrencies.
    assert (asked.state, asked.trigger, asked.scenario) == ("queued", Trigger.PILOT, "offline")
    assert min(plan.loads) == 1
    assert max(plan.loads) == yard.worker.slots
    sizes = (plan.prompt_tokens, plan.completion_tokens, plan.rows)
    assert sizes == (PROMPT_TOKENS_MAX, COMPLETION_TOKENS_MAX, ROWS_MAX)
    assert (plan.slo_ms, plan.percentile) == (SLO_MS_MAX, ASKED["share"])


def test_a_pilot_that_cannot_be_asked_for_says_why(yard: Shop) -> None:
    Profile.objects.update(samples=3)
    advice = services.advice_make(
        organisation=yard.organisation, user=None, question=Question(**ASKED), check=False
    )
    yard.worker.healthy = False
    yard.worker.save()
    staff = member(yard, staff=True)
    body = {"deployment": yard.deployment.pk}
    posted = staff.post(f"/advisor/{advice.pk}/pilot", body, follow=True)
    assert "There is no ready worker" in posted.content.decode()
    refused = staff.post(f"/api/v1/advice/{advice.pk}/pilot", body, content_type="application/json")
    assert refused.status_code == 400
    for odd in ("²", "9" * 5_000):
        assert staff.post(f"/advisor/{advice.pk}/pilot", {"deployment": odd}).status_code == 302


def test_a_member_starts_no_pilot(yard: Shop) -> None:
    Profile.objects.update(samples=3)
    advice = services.advice_make(
        organisation=yard.organisation, user=None, question=Question(**ASKED), check=False
    )
    client = member(yard)
    posted = client.post(f"/advisor/{advice.pk}/pilot", {"deployment": yard.deployment.pk})
    assert posted.status_code == 403
    path = f"/api/v1/advice/{advice.pk}/pilot"
    body = {"deployment": yard.deployment.pk}
    assert client.post(path, body, content_type="application/json").status_code == 403
    assert not Benchmark.objects.filter(trigger=Trigger.PILOT).exists()

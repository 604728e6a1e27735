"""The hardware advisor over real rows: options, kept answers, the check as a job, API and pages."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone

from marketplace.accounts.models import Role, User
from marketplace.accounts.services import member_set, organisation_create
from marketplace.benchmarks.loadgen.plan import (
    COMPLETION_TOKENS_MAX,
    PROMPT_TOKENS_MAX,
    ROWS_MAX,
    SLO_MS_MAX,
    plan_of,
)
from marketplace.benchmarks.models import Benchmark, Origin, Profile, Scenario, Target, Trigger
from marketplace.catalog.models import AIModel, Deployment, ModelVersion, Pool
from marketplace.planning.advisor import services
from marketplace.planning.advisor import tasks as tasks  # registers the kind of job
from marketplace.planning.advisor.answer import answer_of
from marketplace.planning.advisor.fleets.option import Evidence
from marketplace.planning.advisor.models import Advice, AdviceState
from marketplace.planning.advisor.options.catalogue import options_of
from marketplace.planning.advisor.question import Question
from marketplace.planning.asking import QuestionInvalid, QueueFull
from marketplace.shared.jobs.services import job_run_next
from tests.integration.marketplace.shop import Shop, signed_in
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.usefixtures("kept_shop")

NAME = "author/slug"
ASKED: dict[str, Any] = {"model": NAME, "rate_hz": 20, "slo_ms": 900, "share": 0.9, "size_cv": 0.5}


@pytest.fixture
def yard(shop: Shop) -> Shop:
    """The shop with a priced pool that was measured."""
    pool = shop.deployment.pool
    pool.cost_nano_per_hour, pool.region = 500_000_000, "lisbon"
    pool.save()
    profile_of(shop.deployment, samples=2_000)
    return shop


ENGINE: dict[str, Any] = {
    "first": {"weights": [0.03, 0.001, 0.1], "told": [True] * 3, "missed": 0.05},
    "step": {"weights": [0.005, 0.0005, 0.01, 0.1], "told": [True] * 4, "missed": 0.05},
    "answers": 400,
    "at_once": 8,
    "context_tokens": 128.0,
    "event_tokens": 1.0,
    "kv_tokens": 4_000,
}


def profile_of(deployment: Deployment, **changed: Any) -> Profile:
    benchmark = Benchmark.objects.create(
        model=deployment.version.model,
        target=Target.DEPLOYMENT,
        scenario=Scenario.OFFLINE,
        settings={"prompt_tokens": 64, "completion_tokens": 64, "rows": 1},
    )
    values: dict[str, Any] = {
        "service_ms": 200.0,
        "slots": 4,
        "batch_curve": [[2, 1.1], [4, 1.4]],
        "origin": Origin.BENCHMARK,
        "benchmark": benchmark,
        "samples": 500,
        "source": "here",
        "published": True,
    }
    return Profile.objects.create(deployment=deployment, **{**values, **changed})


def member(shop: Shop, *, staff: bool = False) -> Client:
    user = User.objects.create_user("dev@example.com", is_staff=staff)
    member_set(organisation=shop.organisation, user=user, role=Role.VIEWER)
    return signed_in(user)


# --- options -----------------------------------------------------------------------------------


def test_a_measured_profile_is_an_option_scaled_to_the_asked_sizes(yard: Shop) -> None:
    asked = Question(**{**ASKED, "completion_tokens": 128, "prompt_tokens": 64})
    (option,) = options_of(asked)
    assert option.service_ms == pytest.approx(200 * (128 + 0.64) / (64 + 0.64))
    assert (option.evidence, option.kind, option.region) == (Evidence.MEASURED, "cpu", "lisbon")
    assert (option.in_service, option.cost_usd, option.mix_fits) == (1, 0.5, True)
    assert option.batch_curve == ((2, 1.1), (4, 1.4))


def test_a_profile_of_an_engine_is_an_option_that_batches(yard: Shop) -> None:
    Profile.objects.update(engine=ENGINE)
    (option,) = options_of(Question(**{**ASKED, "prompt_tokens": 500, "completion_tokens": 100}))
    alone_s = 0.03 + 0.5 * 0.1 + 99 * (0.005 + 0.0005 + 0.01 * 562.5 / 1e4)
    assert option.service_ms == pytest.approx(1e3 * alone_s)
    # Of the worker's slots as many are used as the cache has room for.
    assert option.sequences == yard.worker.slots
    assert option.slots == min(yard.worker.slots, int(4_000 / 562.5))
    assert option.capacity_hz < option.slots / alone_s


def test_a_profile_that_expired_or_is_not_published_is_no_option(yard: Shop) -> None:
    Profile.objects.update(expires_at=timezone.now() - timedelta(days=1))
    profile_of(yard.deployment, published=False)
    assert options_of(Question(**ASKED)) == []


def test_an_old_measurement_asks_for_a_pilot(yard: Shop) -> None:
    Profile.objects.update(created_at=timezone.now() - timedelta(days=31))
    made = services.answer_question(Question(**ASKED))
    assert [pilot.reason for pilot in made.pilots] == ["stale"]
    assert made.confidence == "low"


def test_an_emulated_pool_brings_its_variants_and_published_figures(yard: Shop) -> None:
    model = AIModel.objects.create(
        name="emulated/gpt-j-6b", display_name="GPT-J", task="chat", emulated=True
    )
    pool = Pool.objects.create(
        name="emulated-h100",
        hardware="2 × NVIDIA H100 (emulated)",
        engine="emulator",
        cost_nano_per_hour=6_000_000_000,
        emulated=True,
    )
    deployment = Deployment.objects.create(
        version=ModelVersion.objects.create(model=model, version="1"),
        provider=yard.provider,
        pool=pool,
        upstream_model="x",
    )
    profile_of(deployment, service_ms=80.0, emulated=True, batch_curve=[], slots=16)
    options = {
        option.name: option for option in options_of(Question(**{**ASKED, "model": model.name}))
    }
    assert options["emulated-h100"].service_ms == pytest.approx(80.0)
    assert options["emulated-h100 ×4"].cost_usd == 12.0
    assert options["emulated-h100 ×1"].service_ms > options["emulated-h100 ×8"].service_ms
    assert {option.evidence for option in options.values()} == {
        Evidence.EMULATED,
        Evidence.PUBLISHED,
    }


# --- services ----------------------------------------------------------------------------------


def test_a_model_nobody_knows_is_refused(yard: Shop) -> None:
    with pytest.raises(QuestionInvalid, match="neither in the catalog"):
        services.answer_question(Question(**{**ASKED, "model": "no/body"}))


def test_an_answer_is_checked_by_a_job_and_says_so(yard: Shop) -> None:
    advice = services.advice_make(
        organisation=yard.organisation, user=yard.owner, question=Question(**ASKED)
    )
    assert advice.check_state == AdviceState.QUEUED
    assert answer_of(advice.answer).check is None
    assert job_run_next(Advice) == advice
    advice.refresh_from_db()
    assert advice.check_state == AdviceState.CHECKED
    made = answer_of(advice.answer)
    assert made.check is not None
    assert made.check.complete
    assert made.check.figures is not None
    assert made.check.figures.within[1] >= 0.9
    assert made.fleet is not None
    assert job_run_next(Advice) is None


def test_too_many_waiting_checks_are_refused(yard: Shop) -> None:
    for _ in range(services.WAITING_MAX):
        services.advice_make(organisation=yard.organisation, user=None, question=Question(**ASKED))
    with pytest.raises(QueueFull):
        services.advice_make(organisation=yard.organisation, user=None, question=Question(**ASKED))


# --- pilots ------------------------------------------------------------------------------------


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
    assert staff.post(f"/advisor/{advice.pk}/pilot", {"deployment": "²"}).status_code == 302


def test_a_profile_of_other_sizes_is_scaled_from_those_it_was_measured_with(yard: Shop) -> None:
    model = AIModel.objects.create(
        name="emulated/gpt-j-6b", display_name="GPT-J", task="chat", emulated=True
    )
    pool = Pool.objects.create(
        name="emulated-h100", hardware="H100 (emulated)", engine="emulator", emulated=True
    )
    deployment = Deployment.objects.create(
        version=ModelVersion.objects.create(model=model, version="1"),
        provider=yard.provider,
        pool=pool,
        upstream_model="x",
    )
    measured = profile_of(deployment, service_ms=400.0, emulated=True, batch_curve=[], slots=16)
    asked = Question(
        **{**ASKED, "model": model.name, "prompt_tokens": 300.0, "completion_tokens": 256.0}
    )
    measured.benchmark = Benchmark.objects.create(
        model=model,
        target="deployment",
        deployment=deployment,
        scenario="offline",
        settings={"prompt_tokens": 300, "completion_tokens": 256, "rows": 1},
    )
    measured.save()
    option = next(item for item in options_of(asked) if item.name == "emulated-h100")
    assert option.service_ms == pytest.approx(400.0)


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


# --- the management API ------------------------------------------------------------------------


def test_any_member_asks_and_reads_what_the_organisation_asked(yard: Shop) -> None:
    client = member(yard)
    body = {"organisation": "acme", "question": ASKED, "check": False}
    made = client.post("/api/v1/advice", body, content_type="application/json")
    assert made.status_code == 201
    assert made.json()["state"] == "answered"
    assert made.json()["answer"]["fleet"]["cost_usd"] >= 0.5
    kept = client.get("/api/v1/advice").json()["results"]
    assert [row["id"] for row in kept] == [made.json()["id"]]


def test_a_question_that_does_not_fit_names_its_field(yard: Shop) -> None:
    client = member(yard)
    body = {"organisation": "acme", "question": {**ASKED, "share": 2}}
    refused = client.post("/api/v1/advice", body, content_type="application/json")
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "question.share"


def test_a_stranger_sees_and_asks_nothing(yard: Shop) -> None:
    advice = services.advice_make(
        organisation=yard.organisation, user=None, question=Question(**ASKED), check=False
    )
    stranger = User.objects.create_user("eve@example.com")
    organisation_create(name="Eve", slug="eve", owner=stranger)
    client = signed_in(stranger)
    assert client.get(f"/api/v1/advice/{advice.pk}").status_code == 404
    assert client.get(f"/advisor/{advice.pk}").status_code == 404
    body = {"organisation": "acme", "question": ASKED}
    asked = client.post("/api/v1/advice", body, content_type="application/json")
    assert asked.status_code == 404
    assert Client().get("/advisor").status_code == 302


# --- pages -------------------------------------------------------------------------------------

FORM: dict[str, Any] = {
    "model": NAME,
    "rate_hz": 20,
    "peak_factor": 1,
    "percentile": 90,
    "slo_ms": 900,
    "prompt_tokens": 64,
    "completion_tokens": 64,
    "rows": 1,
    "size_cv": 0.5,
    "budget_usd": 0,
    "utilisation": 90,
    "kinds": ["gpu", "cpu"],
    "published": "on",
}


def test_the_page_answers_at_once_and_then_shows_the_check(yard: Shop) -> None:
    client = member(yard)
    asked = client.post("/advisor", FORM)
    assert asked.status_code == 302
    path = asked.headers["Location"]
    page = client.get(path).content.decode()
    assert "Waiting in the queue." in page
    assert 'hx-trigger="every 2s"' in page
    assert "measured here" in page
    job_run_next(Advice)
    page = client.get(path).content.decode()
    assert "hx-trigger" not in page
    assert "No cheaper one was shown to meet the SLO" in page
    assert "Best with TPUs alone" in page


@pytest.mark.parametrize(
    ("language", "engines", "slots"),
    [
        ("en", "Batching and the KV cache are counted", "Each machine is counted as slots"),
        (
            "pt-br",
            "O processamento em lote e o cache KV são considerados:",
            "Cada máquina é tratada como",
        ),
    ],
)
def test_the_page_says_whether_batching_and_the_cache_are_counted(
    yard: Shop, language: str, engines: str, slots: str
) -> None:
    client = member(yard)
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = language

    def page() -> str:
        return client.post("/advisor", FORM, follow=True).content.decode()

    assert slots in page()
    Profile.objects.update(engine=ENGINE)
    assert engines in page()
    kept = client.get("/api/v1/advice").json()["results"]
    assert [row["answer"]["worker_model"] for row in kept] == ["engines", "slots"]


def test_a_form_that_does_not_fit_says_where(yard: Shop) -> None:
    page = member(yard).post("/advisor", {**FORM, "slo_ms": -1, "kinds": []})
    assert page.status_code == 422
    assert page.content.decode().count('role="alert"') == 2
    assert not Advice.objects.exists()


def test_published_systems_are_listed_and_chosen_once_they_have_a_price(yard: Shop) -> None:
    client = member(yard)
    form = {**FORM, "model": "mlperf/stable-diffusion-xl", "slo_ms": 60_000, "rate_hz": 1}
    form["kinds"] = ["tpu"]
    page = client.post("/advisor", form, follow=True).content.decode()
    assert "No fleet in the catalog can do this" in page
    assert "published, not measured here" in page
    assert "no price is known" in page
    assert "mlperf_log_summary.txt" in page
    name = "4 × Google TPU v5e (Google)"
    priced = {**form, "price_name": [name], "price_usd": ["4.8"]}
    page = client.post("/advisor", priced, follow=True).content.decode()
    assert "Recommended fleet" in page
    assert "its figures were published by others" in page


# --- the command -------------------------------------------------------------------------------


def test_the_command_answers_and_checks(yard: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [NAME, "--rate", "20", "--slo", "p90=900", "--size-cv", "0.5"]
    call_command("advise", *asked, "--check", "--seconds", str(PATIENCE_S))
    received = capsys.readouterr().out
    assert "x fast (CPU; measured)" in received
    assert "emulated:" in received
    assert "no cheaper one meets the SLO" in received


def test_the_command_refuses_what_makes_no_sense(yard: Shop) -> None:
    for arguments in (
        [NAME, "--rate", "20", "--slo", "soon"],
        [NAME, "--rate", "-1", "--slo", "p90=900"],
        ["no/body", "--rate", "1", "--slo", "p90=900"],
        [NAME, "--rate", "1", "--slo", "p90=900", "--price", "x=y"],
    ):
        with pytest.raises(CommandError):
            call_command("advise", *arguments)

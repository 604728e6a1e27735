"""The advisor's page."""

from typing import Any

import pytest
from django.conf import settings

from marketplace.benchmarks.models import Profile
from marketplace.planning.advisor.models import Advice
from marketplace.shared.jobs.services import job_run_next
from tests.integration.marketplace.planning.advisor.yards import ENGINE, NAME, member
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")
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

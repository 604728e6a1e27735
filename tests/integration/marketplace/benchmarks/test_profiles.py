"""Profiles: what they say, how long they hold, and where they are shown."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from marketplace.benchmarks.models import Benchmark, Profile
from marketplace.benchmarks.selectors import profiles_in_force
from marketplace.benchmarks.services import profile_publish
from marketplace.catalog.models import Deployment
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_a_profile_says_what_the_hardware_costs_by_the_request_and_by_the_token(shop: Shop) -> None:
    shop.worker.pool.cost_nano_per_hour = 3_600 * 10**6
    shop.worker.pool.save()
    busy = Profile(
        deployment=Deployment.objects.get(), service_ms=5, throughput_hz=20, tokens_per_s=500
    )
    # A million nano-USD a second: 20 requests, or 500 tokens.
    assert busy.cost_nano_per_1000 == 50 * 10**6
    assert busy.cost_nano_per_million_tokens == 2_000 * 10**6
    assert Profile(deployment=busy.deployment, service_ms=5).cost_nano_per_1000 is None


def test_a_profile_is_in_force_until_it_expires(shop: Shop) -> None:
    old = Profile.objects.create(deployment=shop.deployment, service_ms=9, source="given")
    profile_publish(old)
    new = profile_publish(
        Profile.objects.create(deployment=shop.deployment, service_ms=5, source="LoadGen")
    )
    assert profiles_in_force().get() == new
    Profile.objects.filter(pk=new.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert profiles_in_force().get() == old


def test_profiles_are_gauges(shop: Shop, settings: Any) -> None:
    settings.WAYPOST_METRICS_TOKEN = "t"
    profile_publish(Profile.objects.create(deployment=shop.deployment, service_ms=5, source="t"))
    page = Client().get("/metrics", headers={"authorization": "Bearer t"}).content.decode()
    found = dict(re.findall(r"^waypost_(profile_\w+)\{[^}]*\} (\S+)$", page, re.MULTILINE))
    assert float(found["profile_service_ms"]) == 5
    assert 0 <= float(found["profile_age_seconds"]) < 60
    assert 'waypost_benchmarks{state="running"} 0.0' in page


ENGINE = {
    "first": {"weights": [0.01, 0.002, 0.25], "told": [True, True, True], "missed": 0.1},
    "step": {"weights": [0.02, 0.001, 0.01, 0.25], "told": [True] * 4, "missed": 0.05},
    "answers": 200,
    "at_once": 8,
    "context_tokens": 1_000.0,
    "event_tokens": 1.0,
}


def engine_profile(done: Benchmark, engine: dict[str, Any]) -> Profile:
    profile = Profile.objects.create(
        deployment=done.deployment, benchmark=done, service_ms=500, engine=engine, source="LoadGen"
    )
    return profile_publish(profile)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {},
            "Reads prompts at 4,000 tok/s. Takes 22 ms per token alone, and 36 ms with 8 at once.",
        ),
        (
            {"first": {**ENGINE["first"], "told": [True, True, False]}, "at_once": 1},
            "Its prompt speed is unknown: the usual share of the time to first token is assumed. "
            "Takes 22 ms per token alone.",
        ),
    ],
)
def test_a_benchmarks_page_says_how_an_engine_reads_and_answers(
    done: Benchmark, changed: dict[str, Any], said: str
) -> None:
    engine_profile(done, {**ENGINE, **changed})
    page = Client().get(f"/benchmarks/{done.pk}").content.decode()
    assert said in " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_a_profile_without_streams_says_nothing_of_an_engine(done: Benchmark) -> None:
    engine_profile(done, {})
    assert "per token alone" not in Client().get(f"/benchmarks/{done.pk}").content.decode()


def test_the_api_tells_what_the_router_begins_from(done: Benchmark) -> None:
    profile = engine_profile(done, ENGINE)
    assert Client().get(f"/api/v1/profiles/{profile.pk}").json()["engine"] == ENGINE

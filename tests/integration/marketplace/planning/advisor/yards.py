"""Pools that were measured, and what is asked about them."""

from typing import Any

from django.test import Client

from marketplace.accounts.models import Role, User
from marketplace.accounts.services import member_set
from marketplace.benchmarks.models import Benchmark, Origin, Profile, Scenario, Target
from marketplace.catalog.models import Deployment
from marketplace.planning.advisor import tasks as tasks  # registers the kind of job
from tests.integration.marketplace.shop import Shop, signed_in

NAME = "author/slug"
ASKED: dict[str, Any] = {"model": NAME, "rate_hz": 20, "slo_ms": 900, "share": 0.9, "size_cv": 0.5}
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

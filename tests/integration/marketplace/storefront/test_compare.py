"""Compare, rankings, a model's tabs, and the same over the management API."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from django.test import Client

from marketplace.catalog.models import AIModel, Protocol, Provider, Worker
from marketplace.storefront.browse.model_tabs import Bar
from marketplace.storefront.rankings.selectors import SAMPLES_MIN
from marketplace.usage.rankings import rankings_compute
from marketplace.usage.rollups.deployments import Measured
from marketplace.usage.services import LOOK_BACK_FAR, deployment_rollups_compute
from tests.bench.generate.__main__ import main as generate
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.storefront.test_browse import add_model

pytestmark = pytest.mark.usefixtures("kept_shop")


@pytest.fixture
def measured(shop: Shop) -> Shop:
    """author/slug: 10 ms to the first byte, 5 ms for each of four tokens after it."""
    for _ in range(SAMPLES_MIN):
        settled_call(shop, completion_tokens=4)
    settled_call(shop, outcome="worker_failed", http_status=502)
    deployment_rollups_compute()
    rankings_compute()
    add_model("yard/dear", emulated=True, prompt_nano_per_million=50_000_000)
    return shop


def test_a_workload_costs_what_the_prices_say_and_takes_what_was_measured(measured: Shop) -> None:
    page = Client().get(
        "/compare?m=author/slug&m=yard/dear&m=no/where&calls=100&tokens_in=1000&tokens_out=40"
    )
    ours, theirs = page.context["estimates"]
    # 1000 tokens at 20 and at 50 nano-USD each, 100 calls a day for 30 days.
    assert (ours["month_nano"], theirs["month_nano"]) == (60_000_000, 150_000_000)
    assert ours["is_cheapest"]
    assert not theirs["is_cheapest"]
    assert ours["estimate"].latency_ms == pytest.approx(10 + 40 * 5, rel=0.05)
    assert (theirs["estimate"].latency_ms, theirs["estimate"].measured.completed) == (None, 0)
    assert page.context["unmeasured"] == 1
    text = page.content.decode()
    assert "There is no model “no/where”" in text
    assert "not measured" in text
    assert 'class="badge badge-signal"' in text
    (price,) = [row for row in page.context["rows"] if row.label == "Price, 1M tokens in"]
    assert [(cell.text, cell.is_best) for cell in price.cells] == [
        ("$0.02", True),
        ("$0.05", False),
    ]


def test_sliding_answers_with_the_estimates_and_an_address(measured: Shop) -> None:
    answer = Client().get(
        "/compare?m=author/slug&calls=0&tokens_in=99999999&tokens_out=x",
        headers={"HX-Request": "true"},
    )
    assert b"<html" not in answer.content
    assert b"<svg" in answer.content
    # Bounded, and without what is as by default.
    assert answer.headers["HX-Replace-Url"] == "/compare?m=author%2Fslug&calls=1&tokens_in=1000000"


def test_seconds_of_hardware_are_those_measured(shop: Shop) -> None:
    model = add_model("yard/timed", task="vision", second_nano=1_000_000_000)
    deployment = model.versions.get().deployments.get()
    row = Client().get("/compare?m=yard/timed").context["estimates"][0]
    assert row["month_nano"] is None
    settled_call(shop, model="yard/timed", deployment_id=deployment.pk)
    deployment_rollups_compute()
    row = Client().get("/compare?m=yard/timed").context["estimates"][0]
    assert row["estimate"].call_nano == pytest.approx(30_000_000, rel=0.1)


def test_nothing_to_compare_says_where_to_begin(shop: Shop) -> None:
    assert b"Nothing to compare yet" in Client().get("/compare?m=%27&m=x").content


def test_only_what_was_measured_is_ranked(measured: Shop) -> None:
    settled_call(measured, model="yard/dear")
    deployment_rollups_compute()
    rankings_compute()
    ranked = {
        by: [
            item.model.name
            for item in Client().get(f"/rankings?by={by}&range=24h").context["ranked"]
        ]
        for by in ("calls", "ttft")
    }
    # One call is no speed.
    assert ranked == {"calls": ["author/slug", "yard/dear"], "ttft": ["author/slug"]}
    assert b"No measurements yet" in Client().get("/rankings?task=vision").content
    assert Client().get("/rankings?by=x&range=y&task=z").context["by"] == "calls"


def test_the_chart_of_rankings_adds_up_to_the_table(shop: Shop) -> None:
    hour_ms = 3_600_000
    for age_h in (0, 1, 23.99, 24.01, 7 * 24 - 0.01, 7 * 24 + 0.01, 30 * 24 - 0.01):
        created_at_ms = int(time.time() * 1000 - age_h * hour_ms)
        settled_call(shop, created_at_ms=created_at_ms, completion_tokens=4)
    deployment_rollups_compute()
    rankings_compute()
    for window in ("24h", "7d", "30d"):
        for by in ("calls", "tokens"):
            page = Client().get(f"/rankings?by={by}&range={window}").context
            (one,) = page["ranked"]
            assert sum(page["columns"]["m0"]) == getattr(one.figures, by), (window, by)


def test_uptime_is_of_the_calls_that_a_worker_got(measured: Shop) -> None:
    page = Client().get("/models/author/slug?tab=providers")
    (offering,) = page.context["offerings"]
    assert offering.measured.uptime == pytest.approx(30 / 31)
    assert page.context["window"].name == "24h", "no days yet, so hours"
    assert [bar.state for bar in offering.bars if bar.state != "idle"] == ["worse"]


@pytest.mark.parametrize(
    ("faults", "state"), [(0, "good"), (1, "good"), (2, "worse"), (10, "worse"), (11, "bad")]
)
def test_a_bar_is_as_high_as_its_legend_says(faults: int, state: str) -> None:
    assert Bar(datetime.now(UTC), Measured(placed=100, faults=faults)).state == state


def test_performance_names_each_deployment_with_its_sample(measured: Shop) -> None:
    page = Client().get("/models/author/slug?tab=performance&range=24h")
    ((deployment, one, _profile),) = page.context["measured"]
    assert (deployment.pk, one.completed) == (measured.deployment.pk, SAMPLES_MIN)
    assert [value for value in page.context["columns"]["errors_0"] if value is not None] == [
        pytest.approx(100 / 31)
    ]
    assert (
        b"No measurements in this window"
        in Client().get("/models/yard/dear?tab=performance").content
    )


def test_performance_opens_on_the_shortest_window_that_has_the_weeks_calls(shop: Shop) -> None:
    page = "/models/author/slug?tab=performance"
    assert Client().get(page).context["window"].name == "7d"
    hour_ms = 3_600_000
    for age_h, range_name, is_charted in ((0, "6h", False), (20, "24h", True), (100, "7d", True)):
        settled_call(shop, created_at_ms=int(time.time() * 1000) - age_h * hour_ms)
        deployment_rollups_compute(look_back=LOOK_BACK_FAR + LOOK_BACK_FAR)
        context = Client().get(page).context
        assert (context["window"].name, context["is_charted"]) == (range_name, is_charted)
    assert Client().get(f"{page}&range=30d").context["window"].name == "30d"


def test_providers_lists_only_workers_that_take_the_models_requests(shop: Shop) -> None:
    for protocol in (Protocol.OPENAI, Protocol.OIP):
        Worker.objects.create(
            worker_id=f"by-{protocol}",
            pool=shop.deployment.pool,
            url="http://127.0.0.1:9",
            protocol=protocol,
        )
    (offering,) = Client().get("/models/author/slug?tab=providers").context["offerings"]
    named = {worker.worker_id for worker in offering.workers}
    assert "by-openai" in named
    assert "by-oip" not in named


def test_activity_and_versions(measured: Shop) -> None:
    page = Client().get("/models/author/slug?tab=activity")
    assert page.context["whole"].calls == SAMPLES_MIN + 1
    assert page.context["whole"].tokens_out == 4 * SAMPLES_MIN
    assert b"Northyard Compute" in Client().get("/models/author/slug?tab=versions").content


def test_the_api_says_what_the_pages_say(measured: Shop) -> None:
    client = Client()
    models = client.get("/api/v1/models?q=slug&price=1&sort=price").json()["results"]
    assert [(model["name"], model["cheapest"]["prompt_nano_per_million"]) for model in models] == [
        ("author/slug", 20_000_000)
    ]
    assert client.get("/api/v1/models?sort=beauty").status_code == 400
    assert client.get("/api/v1/models?price=dear").status_code == 400
    assert client.get("/api/v1/models/author/slug").json()["hardware"] == ["CPU"]
    (ranked,) = client.get("/api/v1/rankings?by=ttft").json()
    assert (ranked["model"], ranked["completed"]) == ("author/slug", SAMPLES_MIN)
    (one,) = client.get("/api/v1/estimates?m=author/slug&calls=100&tokens_in=1000").json()
    assert (one["month_nano"], one["samples"]) == (60_000_000, SAMPLES_MIN)
    assert client.get("/api/v1/estimates?m=no/where").status_code == 404
    assert client.get("/api/v1/estimates?m=author/slug&calls=0").status_code == 400
    assert client.get("/api/v1/estimates").status_code == 400


@pytest.mark.parametrize("what", ["catalog", "history"])
def test_nothing_is_generated_among_people_unless_they_say_so(
    shop: Shop, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        generate([what])
    assert "add --yes" in capsys.readouterr().err


def test_a_catalog_is_generated_once(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["catalog", "--models", "20", "--providers", "3", "--yes"]
    assert generate(words) == 0
    made = Provider.objects.filter(slug__startswith="generated-").count()
    assert (AIModel.objects.count(), made) == (21, 3)
    assert len(Client().get("/models?kind=emulated&parameter=tools").context["rows"]) > 0
    with pytest.raises(SystemExit):
        generate(words)
    assert "a generated catalog already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        generate(["catalog", "--models", "0"])

"""The API, the pages, the command, the gauges and the files of benchmarks."""

import io
import json
import re
import struct
import time
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone, translation
from tensorboardX.proto.event_pb2 import Event

from marketplace.accounts.models import User
from marketplace.accounts.services import api_key_create, organisation_create
from marketplace.benchmarks.models import LOAD_PER_CORE, Benchmark, Point, Profile
from marketplace.benchmarks.results import export
from marketplace.benchmarks.runs.platform_account import bearer_issue
from marketplace.benchmarks.selectors import profiles_in_force
from marketplace.benchmarks.services import (
    QUEUED_MAX,
    QUEUED_OF_ONE_MAX,
    benchmark_request,
    profile_publish,
)
from marketplace.catalog.models import Deployment, Pool, Worker
from marketplace.shared.jobs.models import JobState
from router.domain.keys import verify_session
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")
LATENCY = {
    "total_ms": {name: [12.0, 11.0, 13.0] for name in ("mean", "p50", "p90", "p99")},
    "ttft_ms": {"p50": [4.0, 3.0, 5.0]},
}


@pytest.fixture(autouse=True)
def _english_again() -> Any:
    yield
    translation.activate("en")


@pytest.fixture
def done(shop: Shop) -> Benchmark:
    """A benchmark that is over, with two points."""
    benchmark = benchmark_request(
        model=shop.model, target="deployment", deployment=shop.deployment, reason="a test"
    )
    benchmark.state, benchmark.ended_at = JobState.SUCCEEDED, timezone.now()
    benchmark.fingerprint = {"digest": "abc", "hardware": "CPU", "version": "1"}
    benchmark.raw_dir = f"benchmarks/{benchmark.pk}"
    benchmark.save()
    for load in (1, 4):
        Point.objects.create(
            benchmark=benchmark,
            load=load,
            samples=100,
            duration_s=5,
            throughput_hz=20 * load,
            goodput_hz=19 * load,
            latency=LATENCY,
            is_knee=load == 4,
        )
    return benchmark


@pytest.fixture
def staff() -> Client:
    return signed_in(User.objects.create_user("staff@example.com", is_staff=True))


@pytest.fixture
def stranger() -> Client:
    user = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=user)
    return signed_in(user)


def ask(client: Client, shop: Shop, **values: Any) -> Any:
    body = {
        "model": shop.model.name,
        "target": "deployment",
        "scenario": "offline",
        "deployment": shop.deployment.pk,
        **values,
    }
    return client.post("/api/v1/benchmarks", json.dumps(body), content_type="application/json")


def test_staff_and_the_provider_measure_and_nobody_else(
    shop: Shop, staff: Client, stranger: Client
) -> None:
    assert ask(Client(), shop).status_code == 401
    assert ask(stranger, shop).status_code == 403
    assert ask(signed_in(shop.owner), shop).status_code == 403
    shop.provider.organisation = shop.organisation
    shop.provider.save()
    assert ask(signed_in(shop.owner), shop).status_code == 201
    assert ask(signed_in(shop.owner), shop, target="route", deployment=None).status_code == 403
    assert ask(staff, shop).status_code == 201
    assert ask(staff, shop, target="route", deployment=None).status_code == 201
    assert set(Benchmark.objects.values_list("asked_by__email", flat=True)) == {
        "owner@example.com",
        "staff@example.com",
    }


def test_a_management_key_measures_what_its_organisation_offers(shop: Shop) -> None:
    _row, key = api_key_create(
        organisation=shop.organisation, name="m", scopes=["management"], created_by=shop.owner
    )
    client = Client(headers={"authorization": f"Bearer {key}"})
    assert ask(client, shop).status_code == 403
    shop.provider.organisation = shop.organisation
    shop.provider.save()
    assert ask(client, shop).status_code == 201


def test_what_cannot_be_measured_is_refused_with_the_reason(shop: Shop, staff: Client) -> None:
    wrong = ask(staff, shop, settings={"loads": [2, 1]})
    assert (wrong.status_code, "must rise" in wrong.json()["detail"]) == (400, True)
    shop.worker.healthy = False
    shop.worker.save()
    gone = ask(staff, shop)
    assert (gone.status_code, "ready" in gone.json()["detail"]) == (400, True)


def test_a_provider_measures_neither_a_route_nor_anothers_worker_by_naming_its_own(
    shop: Shop, staff: Client
) -> None:
    shop.provider.organisation = shop.organisation
    shop.provider.save()
    owner = signed_in(shop.owner)
    # The deployment is its own, but what is measured is the platform's router.
    assert ask(owner, shop, target="route").status_code == 403
    elsewhere = Pool.objects.create(name="elsewhere", hardware="CPU", engine="any")
    Worker.objects.create(
        worker_id="theirs", pool=elsewhere, url="http://127.0.0.1:9", protocol="openai"
    )
    for client in (owner, staff):
        asked = ask(client, shop, target="worker", worker="theirs")
        assert (asked.status_code, "its deployment" in asked.json()["detail"]) == (400, True)
    assert not Benchmark.objects.exists()


@pytest.mark.parametrize("wrong", [[1], "fast", 3, {"seed": 10**400}, {"loads": [10**400]}])
def test_invalid_settings_are_refused_in_words(shop: Shop, staff: Client, wrong: Any) -> None:
    asked = ask(staff, shop, settings=wrong)
    assert asked.status_code == 400, asked.content
    assert asked.json()["errors"][0]["field"] == "settings"


def test_one_deployment_does_not_fill_the_queue(shop: Shop, staff: Client) -> None:
    for _ in range(QUEUED_OF_ONE_MAX):
        assert ask(staff, shop).status_code == 201
    assert "are queued" in ask(staff, shop).json()["detail"]
    assert ask(staff, shop, target="route", deployment=None).status_code == 201


def test_a_model_that_is_not_published_is_measured_out_of_sight(
    done: Benchmark, shop: Shop, staff: Client
) -> None:
    profile_publish(Profile.objects.create(deployment=shop.deployment, service_ms=5, source="x"))
    type(shop.model).objects.update(published=False)
    for client, seen in ((Client(), 0), (staff, 1)):
        assert len(client.get("/api/v1/benchmarks").json()["results"]) == seen
        assert len(client.get("/api/v1/profiles").json()["results"]) == seen
        assert client.get(f"/benchmarks/{done.pk}").status_code == (200 if seen else 404)


def test_the_queue_is_bounded(shop: Shop, staff: Client) -> None:
    Benchmark.objects.bulk_create(
        Benchmark(model=shop.model, target="route", scenario="offline") for _ in range(QUEUED_MAX)
    )
    assert "Too many" in ask(staff, shop).json()["detail"]


def test_everybody_reads_points_and_profiles(done: Benchmark, shop: Shop) -> None:
    listed = Client().get("/api/v1/benchmarks").json()["results"]
    assert [row["id"] for row in listed] == [done.pk]
    assert not {"asked_by", "heartbeat_at", "attempts"} & set(listed[0])
    found = Client().get(f"/api/v1/benchmarks/{done.pk}").json()
    assert [point["load"] for point in found["points"]] == [1, 4]
    assert found["points"][1]["latency"] == LATENCY
    profile_publish(Profile.objects.create(deployment=shop.deployment, service_ms=5, source="t"))
    (profile,) = Client().get("/api/v1/profiles").json()["results"]
    assert (profile["model"], profile["service_ms"]) == (shop.model.name, 5)


def test_cancelling_over_the_api(shop: Shop, staff: Client, stranger: Client) -> None:
    pk = ask(staff, shop).json()["id"]
    assert stranger.post(f"/api/v1/benchmarks/{pk}/cancel").status_code == 403
    assert staff.post(f"/api/v1/benchmarks/{pk}/cancel").json()["state"] == "cancelled"


def test_a_benchmark_as_json_csv_and_event_files(done: Benchmark, tmp_path: Path) -> None:
    url = f"/api/v1/benchmarks/{done.pk}/export"
    as_json = Client().get(url).json()
    assert [point["load"] for point in as_json["points"]] == [1, 4]
    lines = Client().get(url, {"kind": "csv"}).content.decode().splitlines()
    assert len(lines) == 3
    assert lines[0].split(",")[:3] == ["benchmark", "model", "scenario"]
    archive = zipfile.ZipFile(io.BytesIO(Client().get(url, {"kind": "tensorboard"}).content))
    (name,) = archive.namelist()
    assert name.startswith(f"benchmark-{done.pk}/events.out.tfevents")
    assert b"total_ms/p50" in archive.read(name)
    assert Client().get(url, {"kind": "xls"}).status_code == 400


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


@pytest.mark.parametrize("path", ["/benchmarks", "/benchmarks/compare", "/benchmarks/{pk}"])
@pytest.mark.parametrize("language", ["en", "pt-br"])
def test_the_pages_are_for_everybody(done: Benchmark, path: str, language: str) -> None:
    page = Client().get(path.format(pk=done.pk), headers={"accept-language": language})
    assert page.status_code == 200
    assert done.model.name in page.content.decode()


def test_only_who_may_finds_the_buttons(done: Benchmark, staff: Client, stranger: Client) -> None:
    url = f"/benchmarks/{done.pk}"
    assert "/repeat" in staff.get(url).content.decode()
    assert "/repeat" not in stranger.get(url).content.decode()
    assert stranger.post(f"{url}/repeat").status_code == 403
    again = staff.post(f"{url}/repeat")
    row = Benchmark.objects.first()
    assert row is not None
    assert again.headers["Location"] == f"/benchmarks/{row.pk}"
    assert row.settings == done.settings
    assert stranger.post(f"/benchmarks/{row.pk}/cancel").status_code == 403
    staff.post(f"/benchmarks/{row.pk}/cancel")
    row.refresh_from_db()
    assert row.state == JobState.CANCELLED


def test_measuring_by_the_form(shop: Shop, staff: Client) -> None:
    form = {"what": str(shop.deployment.pk), "scenario": "server", "loads": "5, 10"}
    answer = staff.post("/benchmarks/create", form)
    row = Benchmark.objects.get()
    assert answer.headers["Location"] == f"/benchmarks/{row.pk}"
    assert (row.scenario, row.settings["loads"]) == ("server", [5, 10])
    staff.post("/benchmarks/create", {**form, "loads": "1.2.3"})
    assert staff.get("/benchmarks").content.decode().count("Loads are numbers") == 1
    assert Benchmark.objects.count() == 1


def test_what_runs_is_polled_and_what_is_over_is_not(done: Benchmark, staff: Client) -> None:
    assert "hx-trigger" not in staff.get(f"/benchmarks/{done.pk}").content.decode()
    Benchmark.objects.filter(pk=done.pk).update(state=JobState.RUNNING, stage="measuring|4|120")
    page = staff.get(f"/benchmarks/{done.pk}").content.decode()
    assert "every 1s" in page
    assert "load 4: measuring, 120 samples" in page


def test_emulated_figures_say_so(done: Benchmark) -> None:
    assert "badge-signal" not in Client().get(f"/benchmarks/{done.pk}").content.decode()
    Benchmark.objects.filter(pk=done.pk).update(emulated=True)
    for path in (f"/benchmarks/{done.pk}", "/benchmarks"):
        assert "emulated" in Client().get(path).content.decode()


def test_the_command_lists_shows_exports_and_cancels(
    done: Benchmark, shop: Shop, capsys: Any, tmp_path: Path
) -> None:
    call_command("benchmark", "list")
    call_command("benchmark", "show", str(done.pk))
    said = capsys.readouterr().out
    assert f"#{done.pk}" in said
    assert "knee" in said
    out = tmp_path / "b.csv"
    call_command("benchmark", "export", str(done.pk), "--format", "csv", "--out", str(out))
    assert len(out.read_text().splitlines()) == 3
    call_command("benchmark", "run", shop.model.name, "--route", "--queue", "--loads", "1,2")
    queued = Benchmark.objects.get(state=JobState.QUEUED)
    assert (queued.target, queued.settings["loads"]) == ("route", [1, 2])
    call_command("benchmark", "cancel", str(queued.pk))
    with pytest.raises(CommandError, match="no benchmark 999"):
        call_command("benchmark", "show", "999")
    with pytest.raises(CommandError, match="say what to measure"):
        call_command("benchmark", "run", shop.model.name)


def scalars_of(benchmark: Benchmark, folder: Path) -> list[tuple[int, str, float]]:
    """Step, tag and value of an event file: records of a length, a checksum, bytes, a checksum."""
    export.tensorboard_write(benchmark, folder)
    (path,) = folder.iterdir()
    data, found = path.read_bytes(), []
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + size])
        found += [
            (event.step, value.tag, value.simple_value)
            for value in event.summary.value
            if value.HasField("simple_value")
        ]
        data = data[16 + size :]
    return found


def test_steps_of_event_files_are_loads_or_of_rates_places(done: Benchmark, tmp_path: Path) -> None:
    found = scalars_of(done, tmp_path / "whole")
    assert [(step, value) for step, tag, value in found if tag == "load"] == [(1, 1), (4, 4)]
    done.points.filter(load=4).update(load=2.5)
    rates = scalars_of(done, tmp_path / "rates")
    assert [(step, value) for step, tag, value in rates if tag == "load"] == [(1, 1), (2, 2.5)]


def test_the_bearer_of_a_point_lives_as_long_as_the_point(shop: Shop, settings: Any) -> None:
    token = bearer_issue(reference="1:1:0", ttl_s=1_300)
    claims = verify_session(token, settings.WAYPOST_KEY_PEPPER)
    assert claims is not None
    assert claims.expires_at_s >= time.time() + 1_290


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
            "Reads prompts at 4000 tok/s. Takes 22 ms per token alone, and 36 ms with 8 at once.",
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


@pytest.mark.parametrize(("load", "is_noisy"), [(0.4, False), (9.5, True)])
def test_figures_of_a_busy_machine_are_not_called_valid(
    done: Benchmark, staff: Client, load: float, is_noisy: bool
) -> None:
    done.fingerprint |= {LOAD_PER_CORE: load}
    done.save()
    page = staff.get(f"/benchmarks/{done.pk}").content.decode()
    compared = staff.get("/benchmarks/compare").content.decode()
    assert (">valid<" in page, ">noisy<" in page) == (not is_noisy, is_noisy)
    assert (">noisy<" in compared) == is_noisy

"""What if: the direction of an answer, its calibration, and the ways to ask."""

import json
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from marketplace.accounts.models import User
from marketplace.benchmarks.models import Profile
from marketplace.catalog.models import Deployment, Pool
from marketplace.planning.models import WhatIf
from marketplace.planning.whatif import answer as answering
from marketplace.planning.whatif import services
from marketplace.planning.whatif import tasks as tasks  # registers the kind of job
from marketplace.planning.whatif.answer import Answer, answer
from marketplace.planning.whatif.question import question_of
from marketplace.planning.whatif.replay.scene import Unanswerable
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_run_next
from marketplace.usage.models import UsageEvent
from router.simulator.workload import recorded
from tests.integration.marketplace.recorded import SERVICE_MS, lived, stretch
from tests.integration.marketplace.shop import Shop, open_shop, signed_in

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def two_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer runs: the direction is seen as well."""
    monkeypatch.setattr(answering, "SEEDS", (1, 2))


@pytest.fixture(scope="module")
def opened(kept_database: None) -> tuple[Shop, datetime]:
    """A shop, and when its recorded stretch on three pools began."""
    shop = open_shop()
    return shop, lived(shop, count=1_500, load=0.75)[0]


@pytest.fixture
def shop(opened: tuple[Shop, datetime]) -> Shop:
    return opened[0]


@pytest.fixture
def since(opened: tuple[Shop, datetime], two_seeds: None) -> datetime:
    return opened[1]


def ask(since: datetime, **changes: Any) -> Answer:
    return answer(
        question_of({"model": "author/slug", "since": since, "until": since + HOUR, **changes})
    )


def verdicts(made: Answer) -> dict[str, str]:
    return {difference.metric: difference.verdict for difference in made.differences}


def price_of_fleet(made: Answer) -> tuple[int, int]:
    return made.cost_now.hardware_nano_per_hour, made.cost_then.hardware_nano_per_hour


def deployment(pool: str) -> str:
    return str(Deployment.objects.get(pool__name=pool).pk)


# --- direction ---------------------------------------------------------------------------------


def test_nothing_changed_changes_nothing_and_comes_out_as_it_was(since: datetime) -> None:
    made = ask(since)
    assert set(verdicts(made).values()) == {"unclear"}
    assert all(difference.low == difference.high == 0 for difference in made.differences)
    assert made.trusted
    assert abs(made.calibration.mean) < 0.06
    assert abs(made.calibration.p99) < 0.2
    assert made.now.charge_nano_per_1000 == pytest.approx(
        made.really.charge_nano_per_1000, rel=0.05
    )


def test_a_slower_pool_is_worse(since: datetime) -> None:
    made = ask(since, pools={"fast": {"speed": 0.4}})
    assert verdicts(made)["mean_ms"] == verdicts(made)["good"] == "worse"
    assert made.then.mean_ms > 1.3 * made.now.mean_ms


@pytest.mark.nightly  # As a slower pool.
def test_more_workers_are_not_worse_and_cost_what_they_cost(since: datetime) -> None:
    made = ask(since, pools={"fast": {"workers": 2}})
    assert verdicts(made)["mean_ms"] == verdicts(made)["p99_ms"] == "better"
    now, then = price_of_fleet(made)
    assert then - now == 2 * 3 * 10**9
    assert [part.workers for part in made.fleet_then] == [4, 2, 2]


@pytest.mark.nightly  # As a slower pool.
def test_fewer_slots_and_more_calls_are_worse(since: datetime) -> None:
    assert verdicts(ask(since, pools={"fast": {"slots": 1}}))["mean_ms"] == "worse"
    busier = ask(since, scale=1.3)
    assert verdicts(busier)["p99_ms"] == "worse"
    assert busier.cost_then.seconds == pytest.approx(busier.cost_now.seconds / 1.3)


def test_a_cheaper_price_is_cheaper_and_nothing_else(since: datetime) -> None:
    made = ask(since, prices={deployment("fast"): 0.5})
    found = verdicts(made)
    assert found.pop("charge_nano_per_1000") == "better"
    assert set(found.values()) == {"unclear"}
    assert made.now.mean_ms == made.then.mean_ms


def test_a_dollar_that_counts_moves_calls_to_the_cheap_pool(since: datetime) -> None:
    made = ask(since, policy={"usd_weight_s": 1e6}, scale=0.3)
    now, then = ({p.pool: p.share for p in side.pools} for side in (made.now, made.then))
    assert then["slow"] > now.get("slow", 0.0) + 0.1
    assert verdicts(made)["charge_nano_per_1000"] == "better"
    assert verdicts(made)["mean_ms"] == "worse"


@pytest.mark.nightly  # As a dollar that counts.
def test_another_policy_is_seen_through(since: datetime) -> None:
    made = ask(since, policy={"kind": "round_robin"})
    assert made.policy_then.kind == "round_robin"
    assert verdicts(made)["mean_ms"] == "worse"


@pytest.mark.nightly  # As a slower pool.
def test_a_pool_that_is_not_there_helps(since: datetime) -> None:
    profile = Profile.objects.get(deployment__pool__name="fast")
    made = ask(since, pools={"new": {"profile": profile.pk, "workers": 2, "slots": 4}})
    assert {part.pool for part in made.then.pools} >= {"new"}
    assert verdicts(made)["p99_ms"] == "better"
    with pytest.raises(Unanswerable, match="is there"):
        ask(since, pools={"fast": {"profile": profile.pk}})
    with pytest.raises(Unanswerable, match="no profile"):
        ask(since, pools={"new": {"profile": 999_999}})


def engines_known(*pools: str) -> None:
    """A benchmark of streams has been there: a token of an answer takes ``SERVICE_MS`` / 200."""
    for profile in Profile.objects.filter(deployment__pool__name__in=pools):
        token_s = SERVICE_MS[profile.deployment.pool.name] / 200e3
        first = {"weights": [2 * token_s, token_s / 20, 0.01], "told": [True] * 3, "missed": 0.1}
        weights = [token_s, token_s / 20, token_s / 20, 0.01]
        step = {"weights": weights, "told": [True] * 4, "missed": 0.1}
        seen = {"answers": 99, "at_once": 8, "context_tokens": 100.0, "event_tokens": 1.0}
        profile.engine = {"first": first, "step": step, **seen}
        profile.save()


def test_pools_that_are_known_as_engines_are_replayed_as_engines(
    since: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace.planning.whatif.replay.engine_runs.EVENTS_MAX", 15_000)
    slots = ask(since)
    engines_known(*SERVICE_MS)
    made = ask(since, pools={"fast": {"workers": 2}})
    assert {"engines", "cache_unknown"} <= {note.code for note in made.notes}
    assert made.now.mean_ms != slots.now.mean_ms
    assert verdicts(made)["mean_ms"] == "better"


@pytest.mark.nightly  # Each takes seconds to replay.
def test_fewer_or_slower_engines_are_worse(
    since: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace.planning.whatif.replay.engine_runs.EVENTS_MAX", 40_000)
    engines_known(*SERVICE_MS)
    assert verdicts(ask(since, pools={"fast": {"workers": -1}}))["mean_ms"] == "worse"
    slower = ask(since, pools={"fast": {"speed": 0.4}}, scale=2.0, speeds="profile")
    assert verdicts(slower)["mean_ms"] == "worse"


@pytest.mark.nightly  # Each takes seconds to replay.
def test_a_fleet_that_is_not_all_known_as_engines_is_replayed_as_slots(since: datetime) -> None:
    slots = ask(since)
    engines_known("fast", "middle")
    made = ask(since)
    received = [note.values for note in made.notes if note.code == "engines_as_slots"]
    assert received == [{"pool": "slow"}]
    assert made.now.mean_ms == slots.now.mean_ms


# --- trust ----------------------------------------------------------------------------------------


def test_profiles_that_are_wrong_are_not_to_be_trusted(since: datetime) -> None:
    Profile.objects.update(service_ms=400.0)
    until = since + timedelta(seconds=5)  # What waits for so slow a fleet takes long to replay.
    made = ask(since, until=until, speeds="profile")
    assert not made.calibration.trusted
    assert not made.trusted
    assert ask(since).trusted  # As fast as they were, whatever the profiles say.


def test_few_calls_and_a_cut_stretch_are_said(
    since: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace.planning.whatif.replay.scene.ARRIVALS_MAX", 150)
    until = since + timedelta(seconds=3)
    made = ask(since, until=until)
    assert {"few", "cut"} <= {note.code for note in made.notes}
    total = UsageEvent.objects.filter(created_at__lt=until).count()
    assert 200 < total < 400
    assert (made.calls <= 150, made.total, made.trusted) == (True, total, False)


def test_what_cannot_be_answered_says_why(since: datetime) -> None:
    with pytest.raises(Unanswerable, match="0 calls of author/slug"):
        ask(since - 5 * HOUR)
    with pytest.raises(Unanswerable, match="no pool 'nope'; there are fast, middle, slow"):
        ask(since, pools={"nope": {"workers": 1}})
    with pytest.raises(Unanswerable, match="no deployment 999999"):
        ask(since, prices={"999999": 2})
    with pytest.raises(Unanswerable, match="no deployment 999999"):
        ask(since, policy={"weights": {"999999": 2}})
    with pytest.raises(Unanswerable, match="no worker would be left"):
        ask(since, pools={name: {"workers": -2} for name in ("fast", "middle", "slow")})


def test_a_deployment_that_cannot_be_simulated_may_have_a_weight(
    shop: Shop, since: datetime
) -> None:
    """The policy editor's preview names every live deployment."""
    empty = Pool.objects.create(name="empty", hardware="CPU", engine="test")
    new = Deployment.objects.create(
        version=shop.deployment.version, provider=shop.provider, pool=empty, upstream_model="slug"
    )
    weights = {str(new.pk): 1.0, deployment("fast"): 1.0}
    made = ask(since, policy={"weights": weights})
    assert set(verdicts(made).values()) == {"unclear"}
    assert "empty" not in {part.pool for part in made.fleet_then}


def test_a_run_that_takes_too_long_is_ended(
    since: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "SECONDS_MAX", -1.0)
    with pytest.raises(Unanswerable, match="not even one run"):
        ask(since)


# --- asking ---------------------------------------------------------------------------------------


def staff() -> tuple[User, Client]:
    user = User.objects.create_user("staff@example.com", is_staff=True)
    client = signed_in(user)
    return user, client


def body(since: datetime, **changes: Any) -> dict[str, Any]:
    return {
        "question": {
            "model": "author/slug",
            "since": since.isoformat(),
            "until": (since + HOUR).isoformat(),
            **changes,
        }
    }


def test_the_api_takes_a_question_and_the_job_answers_it(since: datetime) -> None:
    user, client = staff()
    asked = body(since, pools={"fast": {"workers": 1}}, scale=2.0)
    made = client.post("/api/v1/what-ifs", asked, content_type="application/json")
    assert made.status_code == 201, made.content
    assert made.json()["state"] == "queued"
    assert job_run_next(WhatIf).pk == made.json()["id"]
    assert job_run_next(WhatIf) is None
    found = client.get(f"/api/v1/what-ifs/{made.json()['id']}").json()
    assert (found["state"], found["progress"], found["asked_by"]) == ("done", 1.0, user.email)
    assert found["answer"]["then"]["calls"] == found["answer"]["now"]["calls"]
    listed = client.get("/api/v1/what-ifs").json()["results"]
    assert [row["id"] for row in listed] == [found["id"]]
    assert "answer" not in listed[0]


def test_the_api_refuses_what_is_no_question_and_who_is_not_staff(shop: Shop) -> None:
    since = stretch()
    _user, client = staff()
    for wrong, said in (
        ({"scale": 100}, "scale"),
        ({"policy": {"kind": "magic"}}, "kind"),
        ({"pools": {"fast": {"speed": 0}}}, "speed"),
        ({"until": (since - HOUR).isoformat()}, "after since"),
        ({"model": "no/such"}, "no/such"),
        ({"prices": {"x": 1}}, "prices"),
        ({"colour": "red"}, "colour"),
    ):
        made = client.post(
            "/api/v1/what-ifs", body(since, **wrong), content_type="application/json"
        )
        assert made.status_code == 400
        assert said in made.content.decode()
    client.force_login(shop.owner)
    assert client.get("/api/v1/what-ifs").status_code == 403
    made = client.post("/api/v1/what-ifs", body(since), content_type="application/json")
    assert made.status_code == 403
    assert not WhatIf.objects.exists()


def test_a_question_that_fails_says_why(since: datetime) -> None:
    _user, client = staff()
    client.post("/api/v1/what-ifs", body(since - 5 * HOUR), content_type="application/json")
    assert job_run_next(WhatIf)
    row = WhatIf.objects.get()
    assert row.state == JobState.FAILED
    assert "0 calls" in row.error


def test_more_questions_than_may_wait_are_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _user, client = staff()
    monkeypatch.setattr(services, "WAITING_MAX", 0)
    made = client.post("/api/v1/what-ifs", body(stretch()), content_type="application/json")
    assert made.status_code == 429


# --- the command ----------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("whatif", "author/slug", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_prints_a_table_json_and_arrivals(since: datetime, tmp_path: Path) -> None:
    span = ("--since", since.isoformat(), "--until", (since + HOUR).isoformat())
    changes = ("--workers", "fast=-1", "--speed", "slow=0.5", "--price", f"{deployment('slow')}=2")
    table = run(*span, *changes, "--kind", "prequal", "--scale", "0.8")
    assert "share of fast" in table
    assert "calibration" in table
    made = json.loads(run(*span, "--json"))
    assert made["trusted"] is True
    exported = tmp_path / "day.jsonl"
    assert "1500 of 1500 arrivals" in run(*span, "--export", str(exported))
    arrivals = recorded(exported)
    assert len(arrivals) == 1500
    assert sum(a.size for a in arrivals) / 1500 == pytest.approx(1.0)


def test_the_command_refuses_what_it_cannot_read(shop: Shop) -> None:
    now = stretch().isoformat()
    for wrong, said in (
        (("--since", "yesterday", "--until", now), "does not look like"),
        (("--since", now, "--until", now), "after since"),
        (("--since", "2026-01-01", "--until", "2026-02-01"), "at most 7 days"),
        (("--since", "2026-01-01", "--until", "2026-01-02", "--workers", "x"), "POOL"),
        (("--since", "2026-01-01", "--until", "2026-01-02", "--scale", "nan"), "scale"),
    ):
        with pytest.raises(CommandError, match=said):
            run(*wrong)

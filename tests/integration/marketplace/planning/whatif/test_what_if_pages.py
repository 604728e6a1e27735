"""The page of what-if questions: the form, its errors, progress and the answer side by side."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone, translation

from marketplace.accounts.models import User
from marketplace.benchmarks.models import Profile
from marketplace.catalog.models import Deployment, Pool
from marketplace.planning.models import WhatIf
from marketplace.planning.whatif import answer as answering
from marketplace.planning.whatif import tasks as tasks  # registers the kind of job
from marketplace.planning.whatif.question import question_of
from marketplace.planning.whatif.replay.notes import NOTES, Note, note_text
from marketplace.planning.whatif.selectors import stretches
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_run_next
from tests.integration.marketplace.ledger import intrude
from tests.integration.marketplace.recorded import lived
from tests.integration.marketplace.shop import Shop, open_shop, signed_in

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def client() -> Client:
    return signed_in(User.objects.create_user("staff@example.com", is_staff=True))


@pytest.fixture(scope="module")
def opened(kept_database: None) -> tuple[Shop, datetime]:
    """A shop, and when its recorded stretch began."""
    shop = open_shop()
    return shop, lived(shop, count=600)[0]


@pytest.fixture
def shop(opened: tuple[Shop, datetime]) -> Shop:
    return opened[0]


@pytest.fixture
def since(opened: tuple[Shop, datetime], monkeypatch: pytest.MonkeyPatch) -> datetime:
    monkeypatch.setattr(answering, "SEEDS", (1,))
    return opened[1]


def fields(since: datetime, **values: str) -> dict[str, str]:
    return {
        "model": "author/slug",
        "since": since.strftime("%Y-%m-%dT%H:%M:%S"),
        "until": (since + HOUR).strftime("%Y-%m-%dT%H:%M"),
        **values,
    }


def test_the_form_offers_stretches_and_the_fleet(client: Client, since: datetime) -> None:
    page = client.get("/what-if").content.decode()
    assert "The week&#x27;s busiest hour" in page or "The week's busiest hour" in page
    assert "600 calls" in page
    for pool in ("fast", "middle", "slow"):
        assert f'name="workers:{pool}"' in page


def test_without_calls_there_is_nothing_to_ask(client: Client, shop: Shop) -> None:
    intrude("DELETE FROM usage_rollup")
    assert "No calls to replay" in client.get("/what-if").content.decode()


def test_a_question_goes_from_the_form_to_its_answer(client: Client, since: datetime) -> None:
    deployment = Deployment.objects.get(pool__name="slow").pk
    Pool.objects.filter(name="slow").update(emulated=True)
    posted = fields(
        since,
        kind="prequal",
        scale="1.5",
        **{"workers:fast": "2", "speed:slow": "0.5", f"price:{deployment}": "0.5"},
    )
    made = client.post("/what-if", posted)
    assert made.status_code == 302
    row = WhatIf.objects.get()
    assert row.question["pools"] == {"fast": {"workers": 2}, "slow": {"speed": 0.5}}
    assert (row.question["scale"], row.question["policy"]) == (1.5, {"kind": "prequal"})
    waiting = client.get(made["Location"]).content.decode()
    assert "Waiting in the queue." in waiting
    assert 'hx-trigger="every 1s"' in waiting
    job_run_next(WhatIf)
    page = client.get(made["Location"]).content.decode()
    for shown in (
        "Now and with the changes",
        "Latency, p99",
        "Who answers",
        "4 workers",
        "good_then",
        "emulated",
    ):
        assert shown in page
    assert "hx-trigger" not in page
    polled = client.get(made["Location"], HTTP_HX_REQUEST="true")
    assert polled["HX-Refresh"] == "true"
    again = client.get(f"/what-if?model=author/slug&again={row.pk}").content.decode()
    assert 'name="workers:fast" value="2"' in again
    assert 'value="prequal" selected' in again
    portuguese = client.get(made["Location"], HTTP_ACCEPT_LANGUAGE="pt-br")
    assert portuguese.status_code == 200


def test_what_cannot_be_asked_is_said_and_nothing_typed_is_lost(
    client: Client, since: datetime
) -> None:
    refused = client.post("/what-if", fields(since, scale="99", hedge_share="0.1"))
    assert refused.status_code == 422
    page = refused.content.decode()
    assert "scale" in page
    assert 'name="hedge_share" value="0.1"' in page
    assert not WhatIf.objects.exists()


def test_an_answer_that_is_not_to_be_trusted_says_so(client: Client, since: datetime) -> None:
    Profile.objects.update(service_ms=900.0)
    weight = {f"weight:{Deployment.objects.earliest('pk').pk}": "1.5"}
    made = client.post("/what-if", fields(since, speeds="profile", **weight))
    job_run_next(WhatIf)
    assert "Not reliable." in client.get(made["Location"]).content.decode()
    # The policy editor's preview is of the same answer, and of the same verdict.
    preview = f"/previews/{WhatIf.objects.get().pk}"
    assert "Not reliable." in client.get(preview).content.decode()


def test_a_failure_and_progress_are_shown(client: Client, since: datetime) -> None:
    made = client.post("/what-if", fields(since - 8 * HOUR))
    job_run_next(WhatIf)
    page = client.get(made["Location"]).content.decode()
    assert "This question could not be answered:" in page
    WhatIf.objects.update(state=JobState.RUNNING, progress=0.42)
    assert "42 %" in client.get(made["Location"]).content.decode()


def test_a_pool_that_is_not_there_comes_from_the_form(client: Client, since: datetime) -> None:
    profile = Profile.objects.earliest("pk")
    client.post("/what-if", fields(since, new_profile=str(profile.pk), new_workers="3"))
    row = WhatIf.objects.get()
    assert row.question["pools"] == {"new": {"profile": profile.pk, "workers": 3}}


def test_the_page_is_for_staff(shop: Shop) -> None:
    client = Client()
    assert client.get("/what-if").status_code == 302
    client.force_login(shop.owner)
    assert client.get("/what-if").status_code == 403
    assert client.post("/what-if", {}).status_code == 403
    assert client.get("/what-if/1").status_code == 403


def test_yesterdays_busiest_hour_is_found(shop: Shop, since: datetime) -> None:
    found = {stretch.name: stretch for stretch in stretches(shop.model, timezone.now())}
    assert found["week"].calls == 600
    assert found["week"].since == since.astimezone(UTC).replace(minute=0, second=0)
    tomorrow = {
        stretch.name: stretch for stretch in stretches(shop.model, since + timedelta(days=1))
    }
    assert {"hour", "day"} <= tomorrow.keys()
    assert tomorrow["yesterday"].since == found["week"].since


@pytest.mark.parametrize("code", NOTES)
def test_every_note_reads(code: str) -> None:
    names = ("calls", "total", "needed", "percent", "deployment", "pool")
    values: dict[str, str | int | float] = dict.fromkeys(names, "7")
    text = note_text(Note(code, values))
    assert text
    assert "%(" not in text


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    yield
    translation.activate("en")


def test_what_is_wrong_with_a_question_is_said_in_the_readers_language(client: Client) -> None:
    asked = {"model": "author/slug", "since": "2026-11-24T15:00", "until": "2026-11-24T14:00"}
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = "pt-br"
    refused = client.post("/what-if", asked)
    assert refused.status_code == 422
    assert "o fim deve vir depois do início" in refused.content.decode()


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("0001-01-01T00:00:00+14:00", "0001-01-02T00:00:00Z"),
        ("9999-12-30T00:00:00Z", "9999-12-31T00:00:00-14:00"),
    ],
)
def test_times_that_no_call_can_have_are_refused(since: str, until: str) -> None:
    with pytest.raises(ValueError, match="from 2000 to 2100"):
        question_of({"model": "author/slug", "since": since, "until": until})

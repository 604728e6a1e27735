"""During a restart of the database every page and operation answers 503, then recovers alone."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.local.services import stack
from marketplace.config.errors.faults import RETRY_AFTER_S
from tests.backend import backend
from tests.chaos.processes import Database
from tests.local_stack import ROOT
from tests.patience import PATIENCE_S
from tests.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

MAIL, PASSWORD = "staff@example.com", "a-long-and-odd-one"
PEOPLE = f"""
import django
django.setup()
from allauth.account.models import EmailAddress
from marketplace.accounts.models import User
from marketplace.accounts.services import api_key_create, organisation_create
user = User.objects.create_superuser("{MAIL}", "{PASSWORD}")
EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
acme = organisation_create(name="Acme", slug="acme", owner=user)
print(api_key_create(organisation=acme, name="k", scopes=["management"])[1])
"""
OUTAGE_S = 16.0
"""So long that waits which double would outlive the outage by as much."""
EVERY_S = 0.5
STRUCK_S = 6.0
"""Longer than a request waits for a connection."""


@dataclass(frozen=True)
class Asked:
    """One request, by whoever ``by`` names, and how it is answered with the database there."""

    method: str
    path: str
    by: str = "nobody"
    told: int = 200
    form: dict[str, str] | None = None
    body: object = None


NEED_IT = (
    # A session, a language, what every page shows, and a page that is not there.
    Asked("GET", "/", "person"),
    Asked("GET", "/nowhere", "person", 404),
    Asked("GET", "/keys", "person"),
    Asked("GET", "/usage", "person"),
    Asked("GET", "/topology", "person"),
    Asked("POST", "/keys/create", "person", 422, form={"name": ""}),
    Asked("POST", "/language", "person", 302, form={"language": "en", "next": "/"}),
    Asked("GET", "/admin/", "person"),
    Asked("GET", "/admin/billing/account/", "person"),
    Asked("GET", "/"),
    # Attempts are counted in the database, and so are codes and resets.
    Asked("POST", "/login/", "nobody", 200, form={"login": "b@example.com", "password": "wrong"}),
    Asked("POST", "/password/reset/", "nobody", 302, form={"email": "b@example.com"}),
    Asked("GET", "/metrics", "meter"),
    # The API: by session, by key, by nobody, with a body, and paths that are none.
    Asked("GET", "/api/v1/organisations", "person"),
    Asked("POST", "/api/v1/session-token", "person", 201, body={}),
    Asked("GET", "/api/v1/nowhere", "person", 404),
    Asked("GET", "/api/v1/models", "key"),
    Asked("GET", "/api/v1/models"),
    Asked("POST", "/api/v1/keys", "key", 400, body={}),
    Asked("PATCH", "/api/v1/organisations/acme", "key", 403, body={"name": "Acme"}),
)
"""Each comes to the database at another place."""


@pytest.fixture
def database(mortal_database: Database) -> Iterator[Database]:
    yield mortal_database
    if not mortal_database.runs:
        mortal_database.start()


@dataclass(frozen=True)
class Site:
    """The pages as `manage.py up` serves them, and the callers."""

    asking: dict[str, httpx.AsyncClient]
    log: Path

    async def ask(self, asked: Asked) -> httpx.Response:
        client = self.asking[asked.by]
        headers = {"Referer": str(client.base_url)}
        if token := client.cookies.get("csrftoken"):
            headers["X-CSRFToken"] = token
        return await client.request(
            asked.method, asked.path, data=asked.form, json=asked.body, headers=headers
        )


@pytest.fixture(scope="module")
def served(
    mortal_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, Path]]:
    """The pages' origin, the key of an organisation that one of the staff owns, and the log."""
    (port,) = free_ports(1)
    home = tmp_path_factory.mktemp("pages")
    web = stack._web(stack.Options(home=home, web_port=port), needs=())
    origin = f"http://127.0.0.1:{port}"
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": mortal_database.url,
        "WAYPOST_PUBLIC_URL": origin,
        "WAYPOST_METRICS_TOKEN": "meter",
        "EMAIL_URL": "consolemail://",
        "WAYPOST_MAIL_FROM": "a@example.com",
    }
    words = [sys.executable, "-c", PEOPLE]
    every = {**os.environ, **env}
    made = subprocess.run(
        words, cwd=ROOT, env=every, stdout=subprocess.PIPE, text=True, timeout=300, check=True
    )
    words = list(web.argv[web.argv.index("granian") :])
    with backend(words, f"{origin}/robots.txt", home / "log", env):
        yield origin, made.stdout.split()[-1], home / "log"


@pytest.fixture
async def site(served: tuple[str, str, Path], database: Database) -> AsyncIterator[Site]:
    origin, key, log = served
    asking = {
        name: httpx.AsyncClient(base_url=origin, headers=headers, timeout=PATIENCE_S)
        for name, headers in {
            "nobody": {},
            "person": {},
            "key": {"Authorization": f"Bearer {key}"},
            "meter": {"Authorization": "Bearer meter"},
        }.items()
    }
    made = Site(asking, log)
    for name in ("nobody", "person"):
        await asking[name].get("/login/")
    form = {"login": MAIL, "password": PASSWORD}
    assert (await made.ask(Asked("POST", "/login/", "person", form=form))).status_code == 302
    yield made
    for client in asking.values():
        await client.aclose()


async def test_a_restart_of_the_database_is_told_as_503_everywhere_and_is_over_by_itself(
    site: Site, database: Database
) -> None:
    async def answers() -> dict[str, httpx.Response]:
        received = await asyncio.gather(*map(site.ask, NEED_IT))
        return {f"{a.method} {a.path} {a.by}": r for a, r in zip(NEED_IT, received, strict=True)}

    def statuses(told: dict[str, httpx.Response]) -> dict[str, int]:
        return {name: answer.status_code for name, answer in told.items()}

    expected = {f"{asked.method} {asked.path} {asked.by}": asked.told for asked in NEED_IT}
    assert statuses(await answers()) == expected
    await asyncio.to_thread(database.stop)
    down = asyncio.create_task(asyncio.sleep(OUTAGE_S))
    told = await answers()
    await down
    await asyncio.to_thread(database.start)
    assert statuses(told) == dict.fromkeys(told, 503)
    for name, answer in told.items():
        assert int(answer.headers["Retry-After"]) == RETRY_AFTER_S, name
        assert "no-store" in answer.headers["Cache-Control"], name
        if "/api/" in name:
            assert answer.headers["Content-Type"] == "application/problem+json", name
            assert answer.json()["status"] == 503, name
    await asyncio.sleep(RETRY_AFTER_S)
    assert statuses(await answers()) == expected


async def test_whatever_a_request_was_at_as_the_database_went_it_is_told_503(
    site: Site, database: Database
) -> None:
    over = asyncio.Event()
    seen: list[tuple[str, httpx.Response]] = []

    async def keep_asking(asked: Asked) -> None:
        while not over.is_set():
            seen.append((f"{asked.method} {asked.path}", await site.ask(asked)))
            await asyncio.sleep(EVERY_S)

    calm = [asked for asked in NEED_IT if asked.path != "/login/"]
    async with asyncio.TaskGroup() as group:
        for asked in calm:
            group.create_task(keep_asking(asked))
        await asyncio.sleep(1)
        await asyncio.to_thread(database.kill)
        await asyncio.sleep(STRUCK_S)
        await asyncio.to_thread(database.start)
        await asyncio.sleep(RETRY_AFTER_S)
        over.set()
    wrong = [
        (name, answer.status_code, answer.text[:200])
        for name, answer in seen
        if answer.status_code >= 500
    ]
    assert [item for item in wrong if item[1] != 503] == [], site.log.read_text()
    assert wrong, "nothing was struck"

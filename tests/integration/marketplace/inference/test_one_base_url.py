"""A real router, the real web process behind it, and one base URL for a client."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx
import openai
import pytest
from django.db import connection

from deploy.local.services import stack
from marketplace.accounts.models import ApiKey
from marketplace.accounts.services import (
    api_key_create,
    api_key_revoke,
    session_token_issue,
    sessions_end,
)
from marketplace.inference.callers import Caller
from marketplace.inference.router_client import RouterClient
from marketplace.routing.services import snapshot_publish
from router.settings import Limits
from tests.backend import backend
from tests.integration.marketplace.shop import Shop
from tests.integration.router.routers import running, until
from tests.ports import free_ports

CHAT = [{"role": "user", "content": "hi"}]
UNKNOWN = b'{"model": "no/body", "messages": [{"role": "user", "content": "hi"}]}'


@dataclass(frozen=True)
class Stack:
    shop: Shop
    url: str
    row: ApiKey
    key: str

    def get(self, path: str, token: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"}
        return httpx.get(f"{self.url}{path}", headers=headers, timeout=60)


@pytest.fixture
def served(committed_shop: Shop, tmp_path: Path) -> Iterator[Stack]:
    row, key = api_key_create(organisation=committed_shop.organisation, name="job")
    snapshot_publish()
    database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(
        **connection.settings_dict
    )
    (web_port,) = free_ports(1)
    options = stack.Options(home=tmp_path, web_port=web_port)
    argv = stack._web(options, needs=()).argv
    env = {"DATABASE_URL": database, "WAYPOST_HOME": str(tmp_path)}
    ready = f"{options.web_url}/robots.txt"
    router_env = {
        "WAYPOST_KEY_PEPPER": os.environ["WAYPOST_KEY_PEPPER"],
        "ROUTER_JOBS_URL": options.web_url,
    }
    with (
        backend(list(argv[argv.index("granian") :]), ready, tmp_path / "web.log", env),
        running("one", database, tmp_path, **router_env) as router,
    ):
        yield Stack(committed_shop, router.url, row, key)


def test_a_client_needs_one_address_for_calls_and_for_jobs(served: Stack) -> None:
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0)
    assert [model.id for model in client.models.list()] == [served.shop.model.name]
    with pytest.raises(openai.NotFoundError) as unknown:
        client.get("/files/a/b/c", cast_to=object)
    assert unknown.value.body == {
        "message": "There is no GET /v1/files/a/b/c; see the API reference.",
        "type": "not_found_error",
        "param": None,
        "code": "not_found",
    }
    assert served.get("/v1/predictions", served.key).status_code == 200
    assert served.get("/v1/pipelines", served.key).json() == {"object": "list", "data": []}
    owner, organisation = served.shop.owner, served.shop.organisation
    token, _ = session_token_issue(user=owner, organisation=organisation, session_key="here")
    assert served.get("/v1/predictions", token).status_code == 200
    sessions_end(user_id=owner.pk, session_key="here")
    assert served.get("/v1/predictions", token).status_code == 401
    a_file_goes_up_and_down_whole(client)
    what_happens_to_a_prediction_is_told_as_it_happens(served)
    a_job_may_do_what_its_key_may_until_the_key_is_revoked(served)


def a_file_goes_up_and_down_whole(client: openai.OpenAI) -> None:
    """One that is larger than a body may be that the router reads."""
    content = b"".join(b'{"custom_id": "%d"}\n' % number for number in range(600_000))
    assert len(content) > Limits().body_bytes_max
    file = client.files.create(file=("rows.jsonl", content), purpose="batch")
    assert file.bytes == len(content)
    assert client.files.content(file.id).content == content
    client.files.delete(file.id)


def what_happens_to_a_prediction_is_told_as_it_happens(served: Stack) -> None:
    """No job process runs, so it waits; and the stream would never end."""
    headers = {"authorization": f"Bearer {served.key}"}
    asked = {"model": served.shop.model.name, "input": {"messages": CHAT}}
    made = httpx.post(f"{served.url}/v1/predictions", json=asked, headers=headers, timeout=60)
    assert made.status_code == HTTPStatus.CREATED, made.text
    url = made.json()["urls"]["stream"]
    path = url[url.index("/v1/") :]
    with httpx.stream("GET", f"{served.url}{path}", headers=headers, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert next(answer.iter_lines()).startswith(": waiting")


def a_job_may_do_what_its_key_may_until_the_key_is_revoked(served: Stack) -> None:
    account = served.shop.customer_account.pk
    caller = Caller(served.shop.organisation.pk, account, key_id=served.row.pk)

    async def status() -> int:
        async with RouterClient(served.url) as client:
            path = "/v1/chat/completions"
            answer = await client.call(caller, path, UNKNOWN, deadline_s=60)
            return answer.status

    assert asyncio.run(status()) == HTTPStatus.NOT_FOUND
    api_key_revoke(api_key=served.row)
    snapshot_publish()
    until(lambda: asyncio.run(status()) == HTTPStatus.UNAUTHORIZED)

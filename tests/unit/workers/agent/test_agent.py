"""An agent and its marketplace: what ends it, what it goes on after, and what its servers get."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.patience import PATIENCE_S
from workers.agent import agent as deciding
from workers.agent import marketplace as telling
from workers.agent.__main__ import identity_found
from workers.agent.agent import Agent
from workers.agent.identity import Identity, StateBroken
from workers.agent.marketplace import PROBLEM_TYPE, Host, Marketplace, Refused
from workers.agent.servers import Asked
from workers.agent.settings import EngineSpec, Settings

ME = Identity("https://example.com", "gpu-a", "h200", "wp_agent_secret")
OLD = EngineSpec("vllm", served_name="m", model_version="1", adopt="http://127.0.0.1:1")
NEW = replace(OLD, model_version="2", adopt="http://127.0.0.1:2")
UNFIT = "unfit"
"""A version that the marketplace does not take."""
ALONE = (200, [("a", "ready")])


class Pages:
    """The marketplace. After its first answers, every server that it takes is routable."""

    def __init__(self, *first: tuple[int, str]) -> None:
        """``first`` are statuses with their types of content."""
        self.first = list(first)
        self.log: list[tuple[int, list[tuple[str, str]]]] = []
        """Each answer's status, with the servers that were reported and their states."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        workers = json.loads(request.content)["workers"]
        answer = self._answer(workers)
        reported = [(worker["name"], worker["state"]) for worker in workers]
        self.log.append((answer.status_code, reported))
        return answer

    def _answer(self, workers: list[dict[str, Any]]) -> httpx.Response:
        if self.first:
            status, kind = self.first.pop(0)
            return httpx.Response(status, json={"detail": "no"}, headers={"content-type": kind})
        if any(worker["model_version"] == UNFIT for worker in workers):
            problem = {"content-type": PROBLEM_TYPE}
            return httpx.Response(400, json={"detail": "too long"}, headers=problem)
        words = [
            {
                "name": worker["name"],
                "worker_id": f"gpu-a-{worker['name']}",
                "routable": worker["state"] == "ready",
                "in_flight": 0,
            }
            for worker in workers
        ]
        return httpx.Response(200, json={"heartbeat_s": 0, "workers": words})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "LOOK_S", 0.01)
    monkeypatch.setattr(telling, "HEARTBEAT_MIN_S", 0.01)


def settings_of(state: Path, engine: EngineSpec = OLD, gpus: tuple[int, ...] = ()) -> Settings:
    return Settings(
        marketplace=ME.marketplace,
        token="wp_worker_once",
        state=state,
        name="gpu-a",
        advertise="127.0.0.1",
        port=8000,
        gpus=gpus,
        drain_s=60.0,
        start_timeout_s=60.0,
        engine=engine,
    )


@contextlib.asynccontextmanager
async def running(
    settings: Settings, pages: Pages
) -> AsyncIterator[tuple[Agent, asyncio.Task[None]]]:
    """An agent whose servers are always well."""
    marketplace = Marketplace(ME.marketplace, httpx.MockTransport(pages))
    asked = Asked(httpx.MockTransport(lambda _: httpx.Response(200, json={})))
    agent = Agent(settings, ME, marketplace, asked, [], "cpu")
    task = asyncio.create_task(agent.run())
    try:
        yield agent, task
    finally:
        agent.leave()
        agent.leave()
        await asyncio.wait([task], timeout=PATIENCE_S)
        await marketplace.close()
        await asked.close()


async def seen(task: asyncio.Task[None], condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, which the agent is to live to see."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            assert not task.done(), "the agent has ended"
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "answer",
    [
        (404, "text/html"),
        (403, "text/html"),
        (401, "text/html"),
        (302, "text/html"),
        (404, PROBLEM_TYPE),
        (400, PROBLEM_TYPE),
        (503, PROBLEM_TYPE),
    ],
)
async def test_an_answer_that_is_no_refusal_of_the_agent_ends_it_not(
    answer: tuple[int, str], tmp_path: Path
) -> None:
    pages = Pages(answer)
    async with running(settings_of(tmp_path), pages) as (_, task):
        await seen(task, lambda: pages.log[-2:] == [ALONE, ALONE])
        assert pages.log[0][0] == answer[0]


@pytest.mark.parametrize("status", [401, 403])
async def test_an_agent_that_the_marketplace_refuses_ends(status: int, tmp_path: Path) -> None:
    pages = Pages(*[(status, PROBLEM_TYPE)] * 100)
    async with running(settings_of(tmp_path), pages) as (_, task):
        with pytest.raises(Refused, match=f"HTTP {status}: no"):
            await asyncio.wait_for(task, PATIENCE_S)


async def test_a_new_version_that_the_marketplace_does_not_take_leaves_the_old_one(
    tmp_path: Path,
) -> None:
    pages = Pages()
    async with running(settings_of(tmp_path), pages) as (agent, task):
        await seen(task, lambda: pages.log[-2:] == [ALONE, ALONE])
        agent.change(replace(NEW, model_version=UNFIT))
        both = (400, [("a", "ready"), ("b", "ready")])
        await seen(task, lambda: both in pages.log and pages.log[-2:] == [ALONE, ALONE])
        assert [status for status, _ in pages.log].count(400) == 1
        agent.change(NEW)
        await seen(task, lambda: "a" not in dict(pages.log[-1][1]))
        status, reported = pages.log[-1]
        assert (status, list(dict(reported).values())) == (200, ["ready"])


async def test_devices_are_counted_as_they_were_looked_up(tmp_path: Path) -> None:
    told = 'echo "$CUDA_DEVICE_ORDER $CUDA_VISIBLE_DEVICES"; exec sleep 600'
    engine = replace(OLD, adopt="", command=("sh", "-c", told))
    log = tmp_path / "server-a.log"
    async with running(settings_of(tmp_path, engine, gpus=(1,)), Pages()) as (_, task):
        await seen(task, lambda: log.exists() and log.read_text() == "PCI_BUS_ID 1\n")


async def test_no_token_is_spent_where_the_credential_could_not_be_kept(tmp_path: Path) -> None:
    asked: list[httpx.Request] = []
    state = tmp_path / "state"
    state.symlink_to(tmp_path / "not mounted")

    def register(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        told = {"name": ME.name, "pool": ME.pool, "credential": ME.credential, "heartbeat_s": 5}
        return httpx.Response(201, json=told)

    marketplace = Marketplace(ME.marketplace, httpx.MockTransport(register))
    with pytest.raises(StateBroken, match="cannot be written"):
        await identity_found(settings_of(state), marketplace, Host([], "0" * 16, "1"))
    await marketplace.close()
    assert not asked

"""The worker agent with real llama.cpp, real pages and a real router."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.integration.agents.conftest import UPSTREAM, Market
from tests.integration.router.routers import until
from tests.patience import PATIENCE_S

LLAMA = f"{sys.executable} -m workers.backends.llama_cpp --port {{port}} --slots 2"
STARTED = ["--engine", "llama_cpp", "--served-name", UPSTREAM, "--slots", "2"]
STARTED += ["--command", f"{LLAMA} --alias {UPSTREAM}"]
NVIDIA_SMI = """#!/bin/sh
echo 'NVIDIA H200, 143771, 570.86.15'
echo 'NVIDIA H200, 143771, 570.86.15'
"""


@pytest.fixture
def gpus(tmp_path: Path) -> dict[str, str]:
    """An environment whose ``nvidia-smi`` finds two GPUs."""
    fake = tmp_path / "nvidia-smi"
    fake.write_text(NVIDIA_SMI)
    fake.chmod(0o755)
    return {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}


def test_one_command_makes_a_host_a_worker_that_serves_and_sigterm_drains_it(
    market: Market, gpus: dict[str, str]
) -> None:
    from marketplace.agents.models import Agent

    first = market.agent("first", "--token", market.token(), *STARTED, **gpus)
    market.probed_until(lambda: market.routed() == {"first-a"})
    until(lambda: bool(market.router.state()["workers"]))
    assert market.call() == "first-a"
    known = Agent.objects.get(name="first")
    assert [device["name"] for device in known.hardware] == ["NVIDIA H200"] * 2
    assert known.workers.get().engine == "llama_cpp"
    assert known.workers.get().engine_version
    second = market.agent("second", "--token", market.token(), *STARTED)
    market.probed_until(lambda: market.routed() == {"first-a", "second-a"})
    with market.caller() as answered:
        first.send(signal.SIGTERM)
        assert first.process.wait(PATIENCE_S) == 0, first.said
        seen = len(answered)
        until(lambda: len(answered) > seen)
    assert answered[-1] == "second-a"
    assert market.routed() == {"second-a"}
    assert Agent.objects.get(name="first").workers.get().state == "gone"
    assert second.process.poll() is None


@pytest.mark.nightly  # In short: what an agent decides, in tests/unit/workers/agent.
def test_a_new_version_takes_over_without_a_failed_call(market: Market) -> None:
    config = market.home / "engine.toml"

    def version(number: int) -> None:
        config.write_text(f'model-version = "{number}"\n')

    version(1)
    words = ["--token", market.token(), "--config", str(config), *STARTED]
    agent = market.agent("switching", *words)
    market.probed_until(lambda: market.routed() == {"switching-a"})
    until(lambda: bool(market.router.state()["workers"]))
    with market.caller() as answered:
        until(lambda: bool(answered))
        version(2)
        agent.send(signal.SIGHUP)
        market.probed_until(lambda: "server a stops" in agent.said)
        assert market.routed() == {"switching-b"}
        until(lambda: answered[-1] == "switching-b")
    assert set(answered) == {"switching-a", "switching-b"}


def test_the_workers_of_a_killed_agent_leave_routing_and_return_with_it(
    market: Market, llama_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server itself still runs: it was adopted."""
    from datetime import timedelta

    from marketplace.catalog import heartbeats

    adopted = ["--engine", "llama_cpp", "--served-name", UPSTREAM, "--adopt", llama_url]
    agent = market.agent("killed", "--token", market.token(), *adopted)
    market.probed_until(lambda: market.routed() == {"killed-a"})
    monkeypatch.setattr(heartbeats, "SILENT_AFTER", timedelta(seconds=6))
    agent.send(signal.SIGKILL)
    market.probed_until(lambda: market.routed() == set())
    again = market.agent("killed", *adopted)
    market.probed_until(lambda: market.routed() == {"killed-a"})
    assert "adopted" in again.said


@pytest.mark.nightly
def test_a_triton_that_runs_already_is_adopted(market: Market, triton_url: str) -> None:
    from marketplace.agents.models import AgentWorker

    words = ["--engine", "triton", "--task", "tensors", "--served-name", "fraud_scorer"]
    market.agent("triton", "--token", market.token(), *words, "--adopt", triton_url)
    market.probed_until(lambda: "triton-a" in market.routed())
    known = AgentWorker.objects.get(worker__worker_id="triton-a")
    assert known.worker.protocol == "oip"
    assert known.engine_version.startswith("2.")


def test_a_server_ends_with_its_killed_agent(market: Market) -> None:
    agent = market.agent("orphaning", "--token", market.token(), *STARTED)
    market.probed_until(lambda: market.routed() == {"orphaning-a"})
    children = Path(f"/proc/{agent.process.pid}/task/{agent.process.pid}/children")
    (server,) = children.read_text().split()
    agent.send(signal.SIGKILL)
    until(lambda: not Path(f"/proc/{server}/cmdline").exists())


@pytest.mark.nightly
def test_a_token_works_once_and_a_revoked_agent_drains_and_ends(
    market: Market, llama_url: str
) -> None:
    from marketplace.agents.models import Agent
    from marketplace.agents.services import agent_revoke

    adopted = ["--engine", "llama_cpp", "--served-name", UPSTREAM, "--adopt", llama_url]
    token = market.token()
    agent = market.agent("revoked", "--token", token, *adopted)
    market.probed_until(lambda: market.routed() == {"revoked-a"})
    thief = market.agent("thief", "--token", token, *adopted)
    assert thief.process.wait(PATIENCE_S) == 2
    assert "was already used" in thief.said
    agent_revoke(agent=Agent.objects.get(name="revoked"))
    assert agent.process.wait(PATIENCE_S) == 2
    assert "the marketplace refuses this agent" in agent.said
    assert market.routed() == set()

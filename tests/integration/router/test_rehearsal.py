"""Locust, headless, against a real router: its figures are the router's own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.backend import backend
from tests.load.slo import MISSED_EXIT_CODE
from tests.local_stack import ROOT
from tests.patience import PATIENCE_S
from tests.ports import free_ports

KEY = "a-key-for-rehearsals"
BUSY_MS = 250
"""A client may have to wait for its turn on a busy machine."""
KEPT = ",".join(
    f"{name}=60000" for name in ("chat", "streamed/first byte", "streamed", "embeddings", "vision")
)
"""Objectives that a busy machine keeps too."""
MODELS = {
    "emulated/gpt-j-6b": ("chat", "openai", "emulated-h100-0"),
    "emulated/bge-large": ("embeddings", "openai", "emulated-a100-0"),
    "emulated/resnet-50": ("vision", "oip", "emulated-h100-tensor-0"),
}


def rehearse(url: str, *words: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.load", "--host", url, "--minutes", "0.1"]
    command += ["--peak-users", "6", "--think-ms", "100", *words]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "WAYPOST_KEY": key},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture(scope="module")
def router_url(emulator_url: str, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("rehearsal")
    fleet = [
        {
            "id": worker,
            "url": f"{emulator_url}/{worker}",
            "class": worker,
            "slots": 8,
            "model": model,
            "task": task,
            "protocol": protocol,
        }
        for model, (task, protocol, worker) in MODELS.items()
    ]
    path: Path = folder / "fleet.json"
    path.write_text(json.dumps(fleet))
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    words = ["router", "--fleet", str(path), "--port", str(port), "--key", KEY]
    with backend(words, f"{url}/readyz", folder / "router.log"):
        yield url


def counted_by_the_router(url: str) -> tuple[dict[str, int], dict[str, float]]:
    """Calls and seconds of calls by model, as ``/metrics`` has them."""
    text = httpx.get(f"{url}/metrics", headers={"authorization": f"Bearer {KEY}"}).text
    calls = dict.fromkeys(MODELS, 0)
    seconds = dict.fromkeys(MODELS, 0.0)
    for line in text.splitlines():
        model = re.search(r'model="([^"]+)"', line)
        value = float(line.rpartition(" ")[2]) if model else 0.0
        if line.startswith("waypost_router_calls_total{"):
            assert 'outcome="completed"' in line, line
            calls[model[1]] += int(value)
        elif line.startswith("waypost_router_total_seconds_sum{"):
            seconds[model[1]] += value
    return calls, seconds


def rows(output: str) -> dict[str, dict[str, float]]:
    """Locust's JSON by ``method name``."""
    found = json.loads(output[output.index("\n[") :])
    return {f"{row['method']} {row['name']}": row for row in found}


def test_its_figures_are_the_routers_own(router_url: str) -> None:
    before = counted_by_the_router(router_url)
    mix = "chat=2,streamed=2,embeddings=2,vision=1"
    run = rehearse(router_url, "--json", "--mix", mix, "--slos", KEPT)
    assert run.returncode == 0, run.stdout + run.stderr
    calls, seconds = counted_by_the_router(router_url)
    found = rows(run.stdout)
    kinds = {
        "emulated/gpt-j-6b": ("POST chat", "POST streamed"),
        "emulated/bge-large": ("POST embeddings",),
        "emulated/resnet-50": ("POST vision",),
    }
    for model, names in kinds.items():
        seen = [found[name] for name in names]
        count = sum(int(row["num_requests"]) for row in seen)
        assert count == calls[model] - before[0][model] > 3
        mean_ms = sum(row["total_response_time"] for row in seen) / count
        routers_ms = 1e3 * (seconds[model] - before[1][model]) / count
        # The client sees the network and its own turn too, and never less than the router.
        assert routers_ms * 0.98 <= mean_ms <= routers_ms + BUSY_MS
    first, whole = found["FIRST BYTE streamed"], found["POST streamed"]
    assert first["num_requests"] == whole["num_requests"]
    assert first["total_response_time"] < whole["total_response_time"]


@pytest.mark.nightly  # A Locust run each.
def test_a_missed_objective_makes_the_exit_code(router_url: str) -> None:
    run = rehearse(router_url, "--mix", "chat=1", "--slos", "chat=1")
    assert run.returncode == MISSED_EXIT_CODE, run.stdout + run.stderr
    assert "MISSED" in run.stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--mix", "tabular=1"], "nothing of the mix"),
        pytest.param(["--mix", "chess=1"], "no kind 'chess'", marks=pytest.mark.nightly),
    ],
)
def test_what_cannot_be_rehearsed_says_why(router_url: str, words: list[str], why: str) -> None:
    run = rehearse(router_url, *words)
    assert run.returncode == 2
    assert why in run.stdout + run.stderr


@pytest.mark.nightly  # A Locust run each.
def test_a_wrong_key_says_so(router_url: str) -> None:
    run = rehearse(router_url, key="another")
    assert run.returncode == 2
    assert "WAYPOST_KEY" in run.stdout + run.stderr

"""What is asked of both instruments, and how each is run. Neither shares a process with another."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from msgspec import Struct, structs
from msgspec.json import decode, encode

from marketplace.benchmarks.loadgen.callers import Server
from marketplace.benchmarks.loadgen.messages import Measured, Report, Request
from marketplace.benchmarks.loadgen.plan import plan_of

ROOT = Path(__file__).resolve().parents[3]
MODEL = "emulated/gpt-j-6b"
TOKENS = 12
PROMPT_TOKENS = 16
WARM_UP = 10
BOUND_S = 150.0
"""One run, longest."""

RUNNER = "marketplace.benchmarks.loadgen"
"""The product's own way of running LoadGen."""


class Asked(Struct, frozen=True):
    """A load: ``users`` calls at once, or ``rate_hz`` Poisson arrivals a second.

    Locust sends at ``arrivals_s``, seconds from the first, where these are given.
    """

    url: str
    samples: int
    users: int = 0
    rate_hz: float = 0.0
    seed: int = 1
    warm_up: int = WARM_UP
    arrivals_s: tuple[float, ...] = ()
    body: str = ""
    out: str = ""


class Timed(Struct, frozen=True):
    """One call, timed from when it was sent: at ``sent_s`` of the run, ``late_ms`` after it was
    due, as far as that is known.
    """

    first_ms: float
    total_ms: float
    sent_s: float
    late_ms: float = 0.0


def by_locust(asked: Asked) -> list[Timed]:
    """What Locust measures. Raises ``RuntimeError`` when calls failed."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "word " * PROMPT_TOKENS}],
        "max_tokens": TOKENS,
        "stream": True,
    }
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "samples.json")
        asked = structs.replace(asked, body=json.dumps(body), out=str(out))
        users = asked.users or 1
        command = [sys.executable, "-m", "locust", "-f", "tests/bench/agreement/locustfile.py"]
        command += ["--host", asked.url, "--headless", "-u", str(users), "-r", str(users)]
        command += ["--only-summary", "-L", "ERROR"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "AGREEMENT": json.dumps(structs.asdict(asked)),
        }
        run = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )
        if run.returncode or not out.exists():
            raise RuntimeError(f"Locust: {(run.stdout + run.stderr)[-1500:]}")
        return [Timed(*sample) for sample in json.loads(out.read_text())]


def by_loadgen(asked: Asked) -> list[Timed]:
    """The same by LoadGen. Raises ``RuntimeError`` with what its process said."""
    scenario = "server" if asked.rate_hz else "offline" if asked.users > 1 else "single_stream"
    # Offline keeps so many calls under way: what Locust's users do.
    load = asked.rate_hz or float(asked.users)
    plan = {
        "scenario": scenario,
        "loads": [load],
        "samples_min": asked.samples,
        "seconds_min": 1.0,
        "seconds_max": BOUND_S - 30,
        "warm_up": asked.warm_up,
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": TOKENS,
        "seed": asked.seed,
    }
    request = Request(plan_of("chat", plan), load, [Server(asked.url, "openai", MODEL)])
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", RUNNER, folder],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # It ends with its standard input, which therefore stays open until it has spoken.
        with process:
            process.stdin.write(encode(request).decode() + "\n")
            process.stdin.flush()
            said = process.stdout.readlines()
        if not said or not isinstance(decode(said[-1], type=Report), Measured):
            raise RuntimeError(f"{RUNNER}: {''.join(said[-5:])[-1500:]}")
        lines = Path(folder, "samples.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    if failed := [result["error"] for result in found if result["error"]]:
        raise RuntimeError(f"{len(failed)} calls of LoadGen failed: {failed[0]}")
    timed = [Timed(result["ttft_ms"], result["total_ms"], result["started_s"]) for result in found]
    return sorted(timed, key=lambda one: one.sent_s)[: asked.samples]

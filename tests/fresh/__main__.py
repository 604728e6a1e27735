"""``python3 -m tests.fresh``: `make run` and `make test` in bare roots of Debian, measured.

Needs root and debootstrap. Each case has its own root, removed with all that runs in it.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from tests.fresh.bare import Bare, bare
from tests.ports import free_ports

SUITES = ("bookworm", "trixie")
USERS = ("root", "ana")
UP_TIMEOUT_S = 1200
STOP_TIMEOUT_S = 60
TEST_TIMEOUT_S = 3600
FRAUD = {
    "inputs": [
        {
            "name": "FEATURES",
            "datatype": "FP32",
            "shape": [1, 8],
            "data": [980.0, 3, 850, 2, 9, 0.7, 0, 40],
        }
    ]
}


class CaseFailed(Exception):
    """What did not hold, in one line."""


@dataclass(slots=True)
class Figures:
    """What one case measured: seconds and megabytes by what they are of."""

    seconds: dict[str, float] = field(default_factory=dict)
    megabytes: dict[str, int] = field(default_factory=dict)


def main() -> int:
    """Run the cases that were asked for; 1 when one failed."""
    arguments = _parser().parse_args()
    missing = [name for name in ("debootstrap", "unshare", "curl") if not shutil.which(name)]
    if os.geteuid() != 0 or missing:
        need = ", ".join(["root", *missing]) if os.geteuid() != 0 else ", ".join(missing)
        print(f"fresh: this needs {need}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A shell starts what runs in the background deaf to it, and so all that is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logs = Path(tempfile.mkdtemp(prefix="waypost-fresh-logs-"))
    print(f"Logs: {logs}", flush=True)
    failures = 0
    rows = []
    for suite in arguments.suite or SUITES:
        for user in arguments.user or USERS:
            name = f"{suite}-{user}"
            figures = Figures()
            try:
                run_case(suite, user, arguments.only, logs / f"{name}.log", figures)
                outcome = "ok"
            except (CaseFailed, subprocess.CalledProcessError) as error:
                failures += 1
                outcome = f"FAILED: {error}"
            rows.append((name, figures, outcome))
            print(f"{name}: {outcome}", flush=True)
    print(table(rows))
    return 1 if failures else 0


def run_case(suite: str, user: str, only: str | None, log: Path, figures: Figures) -> None:
    """Do it in its own root. Raises CaseFailed or CalledProcessError."""
    with bare(suite, user) as root:
        if only != "test":
            bring_up(root, log, figures, "cold")
            bring_up(root, log, figures, "again")
            measure(root, log, figures, "set-up, packages cached", "make clean && make setup")
        if only != "run":
            measure(root, log, figures, "test", "make test")
        for title, places in {
            "clone": (root.clone,),
            ".venv": (root.clone / ".venv",),
            "caches": (root.clone.parent / ".cache", root.clone.parent / ".npm"),
        }.items():
            figures.megabytes[title] = sum(size_mb(place) for place in places if place.exists())


def bring_up(root: Bare, log: Path, figures: Figures, title: str) -> None:
    """`make run` until it prints the call; paste it, ask every real model, stop it."""
    web, router, grpc = free_ports(3)
    command = f'make run ARGS="--port {web} --router-port {router} --router-grpc-port {grpc}"'
    started = time.monotonic()
    output = log.with_suffix(f".{title}.log")
    with output.open("w") as sink:
        process = root.start(command, sink)
        try:
            printed = wait_for_banner(process, output)
            figures.seconds[title] = time.monotonic() - started
            check_answers(printed, f"http://127.0.0.1:{router}")
        finally:
            stop(process)


def wait_for_banner(process: subprocess.Popen[str], output: Path) -> str:
    """Return what was printed, once all of it is. Raises CaseFailed."""
    deadline = time.monotonic() + UP_TIMEOUT_S
    while time.monotonic() < deadline:
        printed = output.read_text()
        if re.search(r"^ +Stop +", printed, re.MULTILINE):
            return printed
        if process.poll() is not None:
            raise CaseFailed(f"`make run` ended: {printed.strip().splitlines()[-1:]}")
        time.sleep(0.2)
    raise CaseFailed(f"not up after {UP_TIMEOUT_S} s: {output}")


def check_answers(printed: str, router_url: str) -> None:
    """Every part runs, the printed call answers as pasted, and so do Triton's models."""
    left_out = re.findall(r"^ +(Without .*|.* is left out.*)", printed, re.MULTILINE)
    if left_out:
        raise CaseFailed("; ".join(left_out))
    (call,) = re.findall(r"^ +(curl .*)$", printed, re.MULTILINE)
    pasted = subprocess.run(
        ["bash", "-c", f"{call} -sS"], capture_output=True, text=True, check=True
    )
    if not json.loads(pasted.stdout).get("choices"):
        raise CaseFailed(f"the printed call answered {pasted.stdout[:200]}")
    (key,) = re.findall(r"Bearer (\S+?)'", call)
    embeddings = {"model": "wordllama/wordllama-256", "input": "a train"}
    answer = post(f"{router_url}/v1/embeddings", key, embeddings)
    if len(answer["data"][0]["embedding"]) != 256:
        raise CaseFailed(f"embeddings answered {answer}")
    answer = post(f"{router_url}/v2/models/waypost/fraud-scorer/infer", key, FRAUD)
    if answer["outputs"][0]["data"][0] < 0.9:
        raise CaseFailed(f"the fraud scorer answered {answer}")


def post(url: str, key: str, body: dict[str, object]) -> dict:
    """Call a JSON API. Raises CaseFailed with the answer of a refusal."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise CaseFailed(f"{url} answered {error.code}: {error.read()[:200]!r}") from error


def measure(root: Bare, log: Path, figures: Figures, title: str, command: str) -> None:
    """Run a command to its end. Raises CaseFailed with its last lines."""
    started = time.monotonic()
    output = log.with_suffix(f".{title.replace(' ', '-').replace(',', '')}.log")
    with output.open("w") as sink:
        process = root.start(command, sink)
        try:
            status = process.wait(TEST_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise CaseFailed(f"`{command}` did not end in {TEST_TIMEOUT_S} s") from error
        finally:
            stop(process)
    figures.seconds[title] = time.monotonic() - started
    if status != 0:
        last = " / ".join(output.read_text().strip().splitlines()[-3:])
        raise CaseFailed(f"`{command}` left with {status}: {last}")


def stop(process: subprocess.Popen[str]) -> None:
    """As Ctrl-C does, then by force."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def size_mb(folder: Path) -> int:
    """What `du` says."""
    said = subprocess.run(["du", "-sm", str(folder)], capture_output=True, text=True, check=True)
    return int(said.stdout.split()[0])


def table(rows: list[tuple[str, Figures, str]]) -> str:
    """Seconds and megabytes of every case, as Markdown."""
    titles = list(dict.fromkeys(title for _, figures, _ in rows for title in figures.seconds))
    sizes = list(dict.fromkeys(title for _, figures, _ in rows for title in figures.megabytes))
    heads = ["case", *(f"{title}, s" for title in titles), *(f"{size}, MB" for size in sizes)]
    lines = ["| " + " | ".join([*heads, "outcome"]) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, figures, outcome in rows:
        cells = [f"{figures.seconds[t]:.0f}" if t in figures.seconds else "" for t in titles]
        cells += [str(figures.megabytes.get(size, "")) for size in sizes]
        lines.append("| " + " | ".join([name, *cells, outcome]) + " |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tests.fresh", description=__doc__)
    parser.add_argument("--suite", action="append", help="bookworm, trixie (both)")
    parser.add_argument("--user", action="append", choices=USERS, help="(both)")
    parser.add_argument("--only", choices=("run", "test"), help="of the two commands (both)")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

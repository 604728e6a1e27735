"""``python -m tests.load``: rehearse a day's load (``make rehearse``).

With ``--host`` and ``WAYPOST_KEY`` against what runs there; else against the local stack that
`make run` started, with its demo key; else against its own stack, stopped afterwards. Further
options go to Locust: ``--web`` opens its page instead of running at once. Exit status 3 when an
objective was missed.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.local.home import state
from deploy.local.launching.launch import demo_access
from tests.local_stack import ROOT, running_stack

HOME = ROOT / ".waypost"
GRACE_S = 120.0
"""What a run may take beyond its day: starting, and calls that are under way at midnight."""

HEADLESS = ("--headless", "--only-summary")
STOP_TIMEOUT_S = 30
"""Calls that are under way at midnight may end."""


def main() -> int:
    """Find a router or start one, and run Locust."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--host", help="base URL of a router; WAYPOST_KEY holds the key")
    parser.add_argument("--home", type=Path, default=HOME, help="state folder of a local stack")
    parser.add_argument("--own-stack", action="store_true", help="start one though another runs")
    parser.add_argument("--web", action="store_true", help="Locust's page, instead of headless")
    parser.add_argument("--minutes", type=float, default=10.0, help="that the day takes")
    options, others = parser.parse_known_args()
    with contextlib.ExitStack() as stack:
        if options.host:
            host, key = options.host, os.environ.get("WAYPOST_KEY", "")
        elif not options.own_stack and (found := _running(options.home)):
            host, key = found
        else:
            print("rehearsal: starting a stack of its own", flush=True)
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()), "home")
            local = stack.enter_context(running_stack(home))
            host, key = local.router_url, local.demo["api_key"]
        return _locust(host.rstrip("/"), key, options, others)


def _running(home: Path) -> tuple[str, str] | None:
    """Router and demo key of the local stack in a state folder, if it runs."""
    found = state.load(home)
    if found is None or not found.is_healthy:
        return None
    return found.environment["WAYPOST_ROUTER_URL"], demo_access(home)["api_key"]


def _locust(host: str, key: str, options: argparse.Namespace, others: list[str]) -> int:
    command = [sys.executable, "-m", "locust", "-f", "tests/load/locustfile.py", "--host", host]
    command += ["--minutes", str(options.minutes), "--stop-timeout", str(STOP_TIMEOUT_S), *others]
    if not options.web:
        command += HEADLESS
    bound_s = None if options.web else options.minutes * 60 + GRACE_S
    environment = {**os.environ, "WAYPOST_KEY": key, "PYTHONPATH": str(ROOT)}
    try:
        run = subprocess.run(command, cwd=ROOT, env=environment, timeout=bound_s, check=False)
    except subprocess.TimeoutExpired:
        print(f"rehearsal: stopped after {bound_s:g} s", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())

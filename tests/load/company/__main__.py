"""``python -m tests.load.company`` (``make day``): a day with faults, on a stack of its own.

The load is that of ``make rehearse``; further options go to Locust. Exit status 3 when a call was
lost or charged twice, the books do not balance, or an objective was missed outside of faults.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from deploy.local.home import state
from deploy.local.home.state import Condition
from deploy.local.processes.process import group_members
from tests.load import slo
from tests.load.company import report, seen
from tests.load.company.alerts import SCRAPE_S, Scrapes, Target
from tests.load.company.faults import Act, Fault, Window, starts
from tests.local_stack import ROOT, LocalStack, running_stack

GRACE_S = 180.0
BACK_S_MAX = 120.0
SETTLED_S_MAX = 60.0


def main() -> int:
    """Run the day and write the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.company", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="that the day takes")
    parser.add_argument("--html", type=Path, default=Path("company-day.html"), help="the report")
    parser.add_argument("--calm", type=float, default=15.0, help="seconds after a part is back")
    parser.add_argument("--attain", type=float, default=0.99, help="share within each objective")
    options, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        print("day: starting a stack of its own", flush=True)
        with running_stack(Path(folder, "home")) as stack:
            day = _lived(stack, options, others, Path(folder, "calls.jsonl"))
    options.html.write_text(report.page(day))
    table, _ = slo.report(day.outside, options.attain)
    print(f"\n{table}\n{day.books}\nwrote {options.html}")
    return 0 if day.kept else slo.MISSED_EXIT_CODE


def _lived(
    stack: LocalStack, options: argparse.Namespace, others: list[str], log: Path
) -> report.Day:
    running = state.load(stack.home)
    assert running is not None
    targets = (
        Target("waypost-router", stack.router_url, running.environment["ROUTER_ADMIN_TOKEN"]),
        Target("waypost-marketplace", stack.web_url, running.environment["WAYPOST_METRICS_TOKEN"]),
    )
    scrapes = Scrapes(time.time(), targets)
    with _scraping(scrapes), _load(stack, options, others, log) as load:
        began_s = time.time()
        windows = [
            _inject(stack, fault, began_s + after_s, options.calm)
            for after_s, fault in starts(options.minutes * 60)
        ]
        load.wait(options.minutes * 60 + GRACE_S)
    calls = seen.read(log.read_text().splitlines())
    return report.Day(
        began_s=began_s,
        calls=len(calls),
        felt=[seen.felt(calls, window) for window in windows],
        outside=seen.outside(calls, windows, slo.DEFAULT_SLOS_MS),
        attain=options.attain,
        alerts=scrapes.begun({window.fault.name: window.from_s for window in windows}),
        books=_books(stack, running.environment["DATABASE_URL"], calls),
    )


@contextlib.contextmanager
def _load(
    stack: LocalStack, options: argparse.Namespace, others: list[str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.load", "--host", stack.router_url]
    command += ["--minutes", str(options.minutes), "--calls-file", str(log), *others]
    environment = {**os.environ, "WAYPOST_KEY": stack.demo["api_key"]}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as load:
        try:
            yield load
        finally:
            load.terminate()


@contextlib.contextmanager
def _scraping(scrapes: Scrapes) -> Iterator[None]:
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(max(0.0, scrapes.at_s + scrapes.count * SCRAPE_S - time.time())):
            scrapes.scrape()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _inject(stack: LocalStack, fault: Fault, at_s: float, calm_s: float) -> Window:
    """Wait for its time, do it, and wait until all services are back and calm."""
    time.sleep(max(0.0, at_s - time.time()))
    from_s = time.time()
    print(f"day: {fault.name}: {', '.join(fault.services)} {fault.act}", flush=True)
    for name in fault.services:
        restarts, pid = _service(stack, name)
        if fault.act is Act.FREEZE:
            _signal_group(pid, signal.SIGSTOP)
            time.sleep(fault.frozen_s)
            _signal_group(pid, signal.SIGCONT)
        else:
            if fault.act is Act.KILL:
                _signal_group(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGTERM)
            _wait_until_back(stack, name, restarts)
    # The next one waits for as long, so that none is held against another.
    time.sleep(calm_s)
    return Window(fault, from_s, time.time())


def _signal_group(pid: int, number: signal.Signals) -> None:
    for member in group_members(pid):
        member.send(number)


def _service(stack: LocalStack, name: str) -> tuple[int, int]:
    """How often it was restarted, and the pid that leads its processes."""
    running = state.load(stack.home)
    assert running is not None
    (service,) = (one for one in running.services if one.name == name)
    return service.restarts, service.process.pid if service.process else 0


def _wait_until_back(stack: LocalStack, name: str, restarts: int) -> None:
    deadline = time.monotonic() + BACK_S_MAX
    while time.monotonic() < deadline:
        running = state.load(stack.home)
        services = running.services if running is not None else ()
        if any(
            one.name == name and one.restarts > restarts and one.condition is Condition.READY
            for one in services
        ):
            return
        time.sleep(0.2)
    print(f"day: {name} was not back within {BACK_S_MAX:g} s", file=sys.stderr)


def _books(stack: LocalStack, database_url: str, calls: list[seen.Seen]) -> report.Books:
    answered = [one.request_id for one in calls if one.ok and one.request_id]
    deadline = time.monotonic() + SETTLED_S_MAX
    with psycopg.connect(database_url, autocommit=True) as connection:
        while True:
            found = connection.execute(
                "SELECT count(*) FROM usage_event WHERE request_id = ANY(%s::uuid[])", [answered]
            ).fetchall()
            lost = len(answered) - found[0][0]
            if not lost or time.monotonic() > deadline:
                break
            time.sleep(1.0)
        ((twice,),) = connection.execute(
            "SELECT count(*) FROM (SELECT request_id FROM billing_transfer"
            " WHERE kind = 'charge_provider' AND request_id = ANY(%s::uuid[])"
            " GROUP BY request_id HAVING count(*) > 1) AS twice",
            [answered],
        ).fetchall()
    proof = stack.manage("ledger", "verify", "--from-beginning")
    said = (proof.stdout + proof.stderr).strip().splitlines()
    return report.Books(len(answered), lost, twice, said[-1] if said else "", not proof.returncode)


if __name__ == "__main__":
    import django
    from django.conf import settings

    settings.configure()
    django.setup()
    sys.exit(main())

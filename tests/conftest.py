"""Fixtures for every test: a real PostgreSQL and Valkey, and Django set up on them.

The servers start once a run (0.6 s) before Django reads its settings, in the xdist controller
when there is one; its workers inherit the URLs through the environment.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from tests.browser import HOW_TO_INSTALL, chromium_path
from tests.embedded import data_services
from tests.local_stack import LocalStack, shared_stack

TEST_SECRETS = {
    "DJANGO_SECRET_KEY": "test-secret-key-of-no-value-outside-this-run",
    "WAYPOST_KEY_PEPPER": "test-pepper-of-no-value-outside-this-run",
    "WAYPOST_PUBLIC_URL": "http://127.0.0.1:8000",
    "WAYPOST_ROUTER_URL": "http://127.0.0.1:8080",
    "ROUTER_UPSTREAM_NETWORKS": "127.0.0.0/8",
    "DJANGO_SETTINGS_MODULE": "marketplace.config.settings",
}
TOGETHER = {
    # Promises that are about time: two of them at once would take each other's processors.
    "chaos": ("tests/chaos/",),
    # They share inference servers that take long to start.
    "servers": (
        "tests/integration/router/",
        "tests/integration/backends/",
        "tests/integration/marketplace/providers/test_conformance.py",
        "tests/integration/marketplace/benchmarks/test_callers.py",
        "tests/integration/marketplace/benchmarks/test_runs.py",
    ),
}
_services = contextlib.ExitStack()

# The same examples in every run, however long each takes: a machine that pauses, or an example that
# nobody has met before, must not refuse a change that has nothing to do with it. New examples are
# looked for with `make test ARGS="--hypothesis-profile=search"`.
settings.register_profile(
    "search",
    deadline=None,
    max_examples=1_000,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile(
    "steady", settings.get_profile("search"), max_examples=100, derandomize=True, database=None
)
settings.load_profile("steady")


def pytest_configure(config: pytest.Config) -> None:
    for name, value in TEST_SECRETS.items():
        os.environ.setdefault(name, value)
    if not hasattr(config, "workerinput"):
        database_url, broker_url = _services.enter_context(data_services())
        os.environ["DATABASE_URL"] = database_url
        os.environ["BROKER_URL"] = broker_url
    # pytest-django read its settings before there were any, and now leaves this to us.
    import django

    django.setup()


class Together(LoadFileScheduling):
    """A file at a time for each worker of xdist, but of some folders all files on the same."""

    def _split_scope(self, nodeid: str) -> str:
        found = (name for name, paths in TOGETHER.items() if nodeid.startswith(paths))
        return next(found, super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Together | None:
    return Together(config, log) if config.option.dist == "loadfile" else None


def pytest_unconfigure() -> None:
    _services.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if chromium_path() is None:
        terminalreporter.write_line(
            f"The browser test was skipped: there is no chromium here; {HOW_TO_INSTALL}."
        )


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """URL of a running PostgreSQL whose role may create databases."""
    return os.environ["DATABASE_URL"]


@pytest.fixture(scope="session")
def valkey_url() -> str:
    """URL (redis://) of a running Valkey."""
    return os.environ["BROKER_URL"]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; skips the test where the machine has none."""
    path = chromium_path()
    if path is None:
        pytest.skip(f"no chromium on this machine; {HOW_TO_INSTALL}")
    return path


@pytest.fixture(scope="session")
def local_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The whole product, started as a person would, on a folder and ports of its own (15 s).

    One for all workers of the run: their own temporary folders are side by side.
    """
    own: Path = tmp_path_factory.getbasetemp()
    of_the_run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with shared_stack(of_the_run / "stack") as stack:
        yield stack

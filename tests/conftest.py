"""What every test has: settings, Django set up on them, and a database where its folder needs one.

The folder says what a test needs, and gives it the mark (`MARKS`). PostgreSQL and Valkey have
addresses from the start, which xdist's workers inherit through the environment, and are started
(0.6 s) once a test is collected that is in a folder of `ON_DATA_SERVICES`.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from deploy.bootstrap import TOOLS
from deploy.programs import CURL
from tests.databases import copied, named_parts
from tests.embedded import DataServices
from tests.together import LONG, TOGETHER

if TYPE_CHECKING:
    from pytest_django import DjangoDbBlocker

TESTS = Path(__file__).parent
TEST_SECRETS = {
    "DJANGO_SECRET_KEY": "test-secret-key-of-no-value-outside-this-run",
    "WAYPOST_KEY_PEPPER": "test-pepper-of-no-value-outside-this-run",
    "WAYPOST_SECRETS_KEYS": "test-key-of-secrets-of-no-value-outside-this-run",
    # What staff do is tested without signing in: test_staff.py has it on.
    "WAYPOST_STAFF_SECOND_FACTOR": "0",
    "WAYPOST_PUBLIC_URL": "http://127.0.0.1:8000",
    "WAYPOST_ROUTER_URL": "http://127.0.0.1:8080",
    "ROUTER_UPSTREAM_NETWORKS": "127.0.0.0/8",
    "DJANGO_SETTINGS_MODULE": "tests.settings",
}
MARKS = {
    "contract": ("integration",),
    "integration": ("integration",),
    "e2e": ("e2e",),
    "chaos": ("integration", "chaos"),
}
"""Of the tests in a folder; those elsewhere start no server."""
ON_DATA_SERVICES = ("tests/contract/", "tests/integration/", "tests/chaos/")
WITHOUT_DJANGO = "tests/unit/router"
"""The data plane has none: its tests alone need not wait for it (1 s)."""

# The same examples in every run, however long each takes: a machine that pauses, or an example that
# nobody has met before, must not refuse a change that has nothing to do with it.
settings.register_profile(
    "nightly",
    deadline=None,
    max_examples=1_000,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile(
    "steady", settings.get_profile("nightly"), max_examples=50, derandomize=True, database=None
)
settings.load_profile("steady")


class Services:
    """The data services of a run, in the process that is not a worker of xdist."""

    def __init__(self) -> None:
        self.data = DataServices()
        os.environ["DATABASE_URL"] = self.data.database_url
        os.environ["BROKER_URL"] = self.data.broker_url

    def collected(self, ids: Iterable[str]) -> None:
        if any(test_id.startswith(ON_DATA_SERVICES) for test_id in ids):
            self.data.start()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if not session.config.option.collectonly:
            self.collected(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self.collected(ids)

    def pytest_unconfigure(self) -> None:
        self.data.close()


def pytest_configure(config: pytest.Config) -> None:
    for name, value in TEST_SECRETS.items():
        os.environ.setdefault(name, value)
    if curl := CURL.find(TOOLS):
        os.environ["PATH"] += os.pathsep + str(Path(curl).parent)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Services())
    if all(argument.startswith(WITHOUT_DJANGO) for argument in config.args):
        return
    # pytest-django read its settings before there were any, and now leaves this to us.
    import django

    django.setup()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What it imports stays: to look through all that for garbage is a fifth of a collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_itemcollected(item: pytest.Item) -> None:
    folder = item.path.relative_to(TESTS).parts[0]
    for name in MARKS.get(folder, ()):
        item.add_marker(name)


class Together(LoadFileScheduling):
    """A file at a time for each worker of xdist, but of some folders all files on the same.

    Those come first, then the files that take longest: none of them is waited for at the end.
    """

    def _split_scope(self, nodeid: str) -> str:
        found = (name for name, paths in TOGETHER.items() if nodeid.startswith(paths))
        return next(found, super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Together | None:
    if config.option.dist != "loadfile":
        return None
    config.option.loadscopereorder = False
    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without xdist too, so that all its workers have the same order."""
    first = [prefix for paths in TOGETHER.values() for prefix in paths] + list(LONG)
    items.sort(
        key=lambda item: next(
            (rank for rank, prefix in enumerate(first) if item.nodeid.startswith(prefix)),
            len(first),
        )
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
def django_db_setup(postgres_url: str, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Have Django use a migrated database of this process's own."""
    from django.conf import settings as django_settings
    from django.db import connection

    with copied(postgres_url) as url, django_db_blocker.unblock():
        for known in (django_settings.DATABASES["default"], connection.settings_dict):
            known.update(named_parts(url))
        yield
        connection.close()
        connection.close_pool()

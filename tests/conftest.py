"""Fixtures for every test: a real PostgreSQL and Valkey, and Django set up on them.

The servers start once a run (0.6 s) before Django reads its settings, in the xdist controller
when there is one; its workers inherit the URLs through the environment.
"""

from __future__ import annotations

import contextlib
import os

import pytest

from tests.embedded import data_services

TEST_SECRETS = {
    "DJANGO_SECRET_KEY": "test-secret-key-of-no-value-outside-this-run",
    "SWITCHYARD_KEY_PEPPER": "test-pepper-of-no-value-outside-this-run",
    "SWITCHYARD_PUBLIC_URL": "http://127.0.0.1:8000",
    "SWITCHYARD_ROUTER_URL": "http://127.0.0.1:8080",
}
_services = contextlib.ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    # pytest-django sets Django up in its own, later pytest_configure.
    for name, value in TEST_SECRETS.items():
        os.environ.setdefault(name, value)
    if (config.rootpath / "marketplace/config/settings.py").exists():
        os.environ["DJANGO_SETTINGS_MODULE"] = "marketplace.config.settings"
    if hasattr(config, "workerinput"):
        return
    database_url, broker_url = _services.enter_context(data_services())
    os.environ["DATABASE_URL"] = database_url
    os.environ["BROKER_URL"] = broker_url


def pytest_unconfigure() -> None:
    _services.close()


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """URL of a running PostgreSQL whose role may create databases."""
    return os.environ["DATABASE_URL"]


@pytest.fixture(scope="session")
def valkey_url() -> str:
    """URL (redis://) of a running Valkey."""
    return os.environ["BROKER_URL"]

"""What is missing stops the start by name; what needs nothing runs with nothing."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.examples import rest_nightly

ROOT = Path(__file__).resolve().parents[4]
COMPLETE = {
    "DJANGO_SECRET_KEY": "x",
    "WAYPOST_KEY_PEPPER": "x",
    "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
}


def manage(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    bare = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **env}
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=bare,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def read(monkeypatch: pytest.MonkeyPatch, **env: str) -> dict[str, Any]:
    """The settings in such an environment, without a process of their own."""
    for name, value in {**COMPLETE, **env}.items():
        monkeypatch.setenv(name, value)
    # A part of the settings, which has read this process's own environment.
    monkeypatch.delitem(sys.modules, "marketplace.config.identity", raising=False)
    return runpy.run_path(str(ROOT / "marketplace/config/settings.py"))


@pytest.mark.parametrize("missing", sorted(COMPLETE))
def test_a_missing_secret_is_named_in_one_line(missing: str) -> None:
    done = manage("migrate", **{k: v for k, v in COMPLETE.items() if k != missing})
    assert done.returncode == 1
    assert done.stderr.strip().startswith(f"error: {missing} is not set")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_command_that_finds_no_stack_says_where_it_looked(tmp_path: Path) -> None:
    for words, env in (((f"--home={tmp_path}",), {}), ((), {"WAYPOST_HOME": str(tmp_path)})):
        done = manage("workers", "token", "--pool", "h200", *words, **env)
        assert done.returncode == 1
        assert f"no stack runs in {tmp_path}: name another state folder with --home" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DATABASE_URL", "sqlite:///x", "PostgreSQL"),
        ("WAYPOST_ROUTER_URL", "127.0.0.1:8080", "https://host"),
        ("STRIPE_SECRET_KEY", "sk_test_x", "STRIPE_WEBHOOK_SECRET is not set"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_x", "STRIPE_SECRET_KEY is not set"),
        ("STRIPE_API_URL", "api.stripe.com", "https://host"),
        ("WAYPOST_SECRETS_KEYS", "short", "at least 32 characters"),
        ("WAYPOST_WEBHOOK_NETWORKS", "10.0.0.0/33", "CIDR"),
        ("WAYPOST_STAFF_MAIL", "a@example.com", "no EMAIL_URL"),
        ("WAYPOST_CONTACT", "javascript:alert(1)", "https://"),
        ("WAYPOST_BENCHMARK_RESERVE_AFTER_S", "-1", "below zero"),
        ("WAYPOST_TOPUP_CENTS_MIN", "0", "above zero"),
        ("WAYPOST_TOPUP_CENTS_MAX", "499", "WAYPOST_TOPUP_CENTS_MIN"),
    ],
)
def test_a_wrong_value_is_named(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        read(monkeypatch, **{name: value})
    assert name in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "words", rest_nightly([("help",), ("migrate", "--help"), ("status", "--help")], [("help",)])
)
def test_help_needs_nothing(words: tuple[str, ...]) -> None:
    assert manage(*words).returncode == 0


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://market.example.com", ["market.example.com", "other.example.com"]),
        ("http://localhost:8000", ["127.0.0.1", "[::1]", "localhost", "other.example.com"]),
        ("http://[fd00::5]:8000", ["[fd00::5]", "other.example.com"]),
    ],
)
def test_hosts_are_those_configured(
    url: str, hosts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"WAYPOST_PUBLIC_URL": url, "DJANGO_ALLOWED_HOSTS": "other.example.com"}
    assert read(monkeypatch, **names)["ALLOWED_HOSTS"] == hosts
    # As a cluster's pods say their address.
    added = read(monkeypatch, **{**names, "DJANGO_ALLOWED_HOSTS": "fd00::7,[fd00::8]"})
    assert {"[fd00::7]", "[fd00::8]"} <= set(added["ALLOWED_HOSTS"])


def test_parameters_of_the_databases_url_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgres://nobody@127.0.0.1:1/none?sslmode=verify-full&sslrootcert=/run/ca.pem"
    options = read(monkeypatch, DATABASE_URL=url)["DATABASES"]["default"]["OPTIONS"]
    assert (options["sslmode"], options["sslrootcert"]) == ("verify-full", "/run/ca.pem")
    assert options["pool"]["max_size"] == 8


def test_keys_that_were_replaced_are_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch)["SECRET_KEY_FALLBACKS"] == []
    found = read(monkeypatch, DJANGO_SECRET_KEY_FALLBACKS="old,older")
    assert found["SECRET_KEY_FALLBACKS"] == ["old", "older"]

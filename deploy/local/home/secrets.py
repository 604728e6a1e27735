"""Secrets of one local stack, made once and kept in its state folder (mode 0600)."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

# Of the embedded PostgreSQL only: of the role that owns the tables, and of those of the services
# and the routers, who get theirs inside DATABASE_URL.
DATABASE_PASSWORD = "WAYPOST_DATABASE_PASSWORD"  # noqa: S105 (its name)
SERVICES_PASSWORD = "WAYPOST_SERVICES_PASSWORD"  # noqa: S105 (its name)
ROUTERS_PASSWORD = "WAYPOST_ROUTERS_PASSWORD"  # noqa: S105 (its name)
# Of the embedded Valkey only, inside BROKER_URL.
BROKER_PASSWORD = "WAYPOST_BROKER_PASSWORD"  # noqa: S105 (its name)
OWNER_URL = "MIGRATE_DATABASE_URL"
NOT_FOR_SERVICES = frozenset(
    {DATABASE_PASSWORD, SERVICES_PASSWORD, ROUTERS_PASSWORD, BROKER_PASSWORD, OWNER_URL}
)
"""Services have in URLs what they need: one that had the owner's could write the books."""
NAMES = (
    "DJANGO_SECRET_KEY",
    "WAYPOST_KEY_PEPPER",
    "WAYPOST_SECRETS_KEYS",
    "WAYPOST_ENDPOINT_SECRETS_KEYS",
    DATABASE_PASSWORD,
    BROKER_PASSWORD,
    SERVICES_PASSWORD,
    ROUTERS_PASSWORD,
    "ROUTER_ADMIN_TOKEN",
    "WAYPOST_METRICS_TOKEN",
)
SECRET_BYTES = 32
FILE = "secrets.json"


def load_or_make(home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets of `home`, making those that it lacks; one in `environ` wins."""
    path = home / FILE
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    missing = [name for name in NAMES if name not in known]
    if missing:
        known |= {name: secrets.token_urlsafe(SECRET_BYTES) for name in missing}
        home.mkdir(parents=True, exist_ok=True)
        write_private(path, json.dumps(known, indent=2) + "\n")
    return known | {name: environ[name] for name in NAMES if name in environ}


def write_private(path: Path, text: str) -> None:
    """Replace `path` in one step, readable by its owner only from its first byte."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
    partial.replace(path)

"""Settings for tools that read the code and never connect: mypy, the OpenAPI schema, linters."""

import os

for _name in ("DJANGO_SECRET_KEY", "WAYPOST_KEY_PEPPER"):
    os.environ.setdefault(_name, "not-a-secret-only-for-static-checks-that-want-fifty")
os.environ.setdefault("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")

from marketplace.config.settings import *  # noqa: E402, F403

# Django's dummy backend: any attempt to connect fails at once.
DATABASES = {}

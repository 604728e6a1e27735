"""``python -m tests.bench.generate``: fill a database, that of the running stack by default.

python -m tests.bench.generate catalog    models and providers
python -m tests.bench.generate history    organisations and calls too, with balanced books
"""

import argparse
import os
import sys
import time

import django

from deploy.local.home.environment import adopt_running_stack

REPORT_EVERY_S = 10.0


def main(argv: list[str] | None = None) -> int:
    """Generate what was asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.generate", description=__doc__)
    parser.add_argument("what", choices=("catalog", "history"))
    parser.add_argument("--models", type=_count, default=2_000)
    parser.add_argument("--providers", type=_count, default=200)
    parser.add_argument("--rows", type=_count, default=1_000_000, help="calls of a history")
    parser.add_argument("--days", type=_count, default=90, help="that they lie in")
    parser.add_argument("--yes", action="store_true", help="even where people have accounts")
    options = parser.parse_args(argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.config.settings")
    adopt_running_stack()
    django.setup()
    from tests.bench.generate import catalog, history

    if history.has_people() and not options.yes:
        parser.error("people have accounts in this database; add --yes if that is meant")
    begun_s = time.monotonic()
    if options.what == "catalog":
        if catalog.is_catalog_generated():
            parser.error("this database has a generated catalog already")
        catalog.catalog_generate(models=options.models, providers=options.providers)
        print(f"{options.models:,} models of {options.providers:,} providers")
        return 0
    if history.is_generated():
        parser.error("this database has a generated history already")
    said_s = begun_s

    def progress(made: int) -> None:
        nonlocal said_s
        now_s = time.monotonic()
        if now_s > said_s + REPORT_EVERY_S:
            said_s = now_s
            print(f"{made:,} calls after {now_s - begun_s:.0f} s", flush=True)

    size = history.Size(options.rows, options.models, options.providers, options.days)
    history.history_generate(size=size, progress=progress)
    history.history_vacuum()
    print(f"{size.rows:,} calls in {time.monotonic() - begun_s:.0f} s")
    return 0


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


if __name__ == "__main__":
    sys.exit(main())

"""``login`` and ``config``: where to call and as whom, kept in a file of mode 600."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Annotated

import typer

from waypost.cli import show
from waypost.cli.app import GIVEN, Json, app
from waypost.client import Client
from waypost.config import (
    ENVIRONMENT,
    PATH,
    Settings,
    config_of,
    settings_changed,
    settings_path,
    settings_read,
    settings_write,
)
from waypost.errors import NotConfigured

SECRETS = ("api_key", "session")
SHOWN = 12
"""Characters of a secret that are shown: the kind of key, and enough to tell two apart."""

config = typer.Typer(help="Settings that are kept.", no_args_is_help=True)
app.add_typer(config, name="config")


@app.command()
def login(
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the key from stdin, for scripts.")
    ] = False,
) -> None:
    """Keep a key, once it was tried: asks for it, so that no shell's history has it."""
    key = _secret("API key", from_stdin=key_stdin)
    with Client(
        api_key=key, base_url=GIVEN.base_url, management_url=GIVEN.management_url
    ) as waypost:
        waypost.key()
        base_url = waypost.config.base_url
    path = settings_path(os.environ)
    # What is kept for another router is another deployment's: it must not get this key.
    is_same = base_url == config_of(Settings(), environ={PATH: str(path)}).base_url
    kept = settings_read(path) if is_same else Settings()
    management_url = GIVEN.management_url or os.environ.get(ENVIRONMENT["management_url"])
    kept = replace(kept, api_key=key, base_url=base_url)
    if management_url:
        kept = replace(kept, management_url=management_url)
    settings_write(path, kept)
    show.aside.print(f"{base_url} takes the key; it is kept in {path}", markup=False)


@config.command("show")
def config_show(as_json: Json = False) -> None:
    """What holds, and where it comes from. Secrets are cut short."""
    kept = settings_read(settings_path(os.environ))
    rows = []
    for name, variable in ENVIRONMENT.items():
        value, source = os.environ.get(variable), variable
        if not value:
            value, source = getattr(kept, name), str(settings_path(os.environ))
        if value:
            told = f"{value[:SHOWN]}…" if name in SECRETS else value
            rows.append({"name": name, "value": told, "from": source})
    if as_json:
        show.as_json(rows)
    else:
        columns = ("name", "value", "from")
        show.table(columns, [[row[c] for c in columns] for row in rows], empty="Nothing is set.")


@config.command("set")
def config_set(
    name: Annotated[str, typer.Argument(help=", ".join(ENVIRONMENT))],
    value: Annotated[str | None, typer.Argument(help="Of a secret it is asked for.")] = None,
) -> None:
    """Keep a setting."""
    if name in SECRETS:
        if value is not None:
            raise typer.BadParameter(
                f"leave it out: others see the words of a command; {name} is asked for",
                param_hint="VALUE",
            )
        value = _secret(name, from_stdin=not sys.stdin.isatty())
    elif value is None:
        raise typer.BadParameter("is missing", param_hint="VALUE")
    _change(name, value)


@config.command("unset")
def config_unset(name: str) -> None:
    """Forget a setting."""
    _change(name, None)


@config.command("path")
def config_path() -> None:
    """Where settings are kept."""
    sys.stdout.write(f"{settings_path(os.environ)}\n")


def _change(name: str, value: str | None) -> None:
    path = settings_path(os.environ)
    settings_write(path, settings_changed(settings_read(path), name, value))


def _secret(words: str, *, from_stdin: bool) -> str:
    text = sys.stdin.readline() if from_stdin else typer.prompt(words, hide_input=True)
    text = str(text).strip()
    if not text:
        raise NotConfigured(f"no {words} was given")
    return text

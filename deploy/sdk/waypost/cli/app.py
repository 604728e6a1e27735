"""The commands' root: options of all of them, and the client that they use."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from waypost.client import Client
from waypost.config import ENVIRONMENT
from waypost.retries import Retries


class _ByName(TyperGroup):
    """The same order however the modules were imported."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return sorted(self.commands)


app = typer.Typer(
    name="waypost",
    cls=_ByName,
    help="Call models, run batches and look at what they cost.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="The answer as JSON.")]
Organisation = Annotated[
    str, typer.Option("--org", metavar="SLUG", help="The organisation; your only one without.")
]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many at most, the newest.")]


@dataclass
class _Given:
    base_url: str | None = None
    management_url: str | None = None
    tries_max: int = Retries.tries_max


GIVEN = _Given()


@app.callback()
def root(
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help=f"Address of the router ({ENVIRONMENT['base_url']})."),
    ] = None,
    management_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help=f"Address of the management API ({ENVIRONMENT['management_url']}).",
        ),
    ] = None,
    tries: Annotated[
        int, typer.Option(min=1, max=100, help="How often at most what may do later is tried.")
    ] = Retries.tries_max,
) -> None:
    """Call models, run batches and look at what they cost."""
    GIVEN.base_url, GIVEN.management_url, GIVEN.tries_max = base_url, management_url, tries


def client() -> contextlib.AbstractContextManager[Client]:
    """The client of a command."""
    return Client(
        base_url=GIVEN.base_url,
        management_url=GIVEN.management_url,
        retries=Retries(tries_max=GIVEN.tries_max),
    )


def pairs(texts: list[str], option: str, what: Any) -> dict[str, Any]:
    """``NAME=VALUE`` words of an option. Raises BadParameter."""
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        try:
            if not (name and sign):
                raise ValueError
            found[name] = what(value)
        except ValueError:
            raise typer.BadParameter(
                f"{text!r} does not look like NAME=VALUE", param_hint=option
            ) from None
    return found

"""``presets``: what calls say by a name, over the management API."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from waypost.cli import show
from waypost.cli.app import Json, Limit, Organisation, app, client
from waypost.shapes import Json as Document

PresetName = Annotated[str, typer.Argument(metavar="NAME")]

presets = typer.Typer(help="What calls say by @preset/NAME.", no_args_is_help=True)
app.add_typer(presets, name="presets")


@presets.command("list")
def presets_list(limit: Limit = 50, organisation: Organisation = "", as_json: Json = False) -> None:
    """Each in its last version."""
    with client() as waypost:
        try:
            found = waypost.presets.list(organisation=organisation, limit=limit)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--org") from error
    if as_json:
        show.as_json(found)
        return
    names = ("name", "version", "model", "retired", "created_at")
    rows = [[one.get(name) for name in names] for one in found]
    show.table(names, rows, empty="There are none.")


@presets.command("show")
def presets_show(name: PresetName, organisation: Organisation = "", as_json: Json = False) -> None:
    """One."""
    with client() as waypost:
        try:
            found = waypost.presets.get(name, organisation=organisation)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="NAME") from error
    _told(found, as_json)


@presets.command("save")
def presets_save(
    name: PresetName,
    model: Annotated[str, typer.Option(metavar="MODEL", help="author/slug, or auto.")] = "",
    system: Annotated[str, typer.Option(help="The system message of calls that have none.")] = "",
    parameters: Annotated[
        str, typer.Option(metavar="JSON", help="Other fields of a call, as an object.")
    ] = "{}",
    organisation: Organisation = "",
    as_json: Json = False,
) -> None:
    """Save one, or its next version: what is not given is empty in it."""
    fields = _object(parameters)
    with client() as waypost:
        try:
            made = waypost.presets.save(
                name, model=model, system=system, parameters=fields, organisation=organisation
            )
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--org") from error
    _told(made, as_json)


@presets.command("retire")
def presets_retire(name: PresetName, organisation: Organisation = "") -> None:
    """Refuse the calls that name it. Saving it brings it back."""
    with client() as waypost:
        try:
            waypost.presets.retire(name, organisation=organisation)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="NAME") from error


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"this is no JSON: {error}", param_hint="--parameters") from error
    if not isinstance(found, dict):
        raise typer.BadParameter("this is no JSON object", param_hint="--parameters")
    return found


def _told(found: Document, as_json: bool) -> None:
    if as_json:
        show.as_json(found)
        return
    names = ("name", "version", "model", "system", "retired", "created_at")
    facts = {name: found.get(name) for name in names}
    fields = found.get("parameters")
    show.facts(facts | {"parameters": json.dumps(fields) if fields else None})

"""Defining pipelines and taking them back."""

from __future__ import annotations

import msgspec
from django.db import transaction

from marketplace.accounts.models import Organisation
from marketplace.catalog.models import AIModel
from marketplace.catalog.selectors import models_published
from marketplace.pipelines.definition import (
    Definition,
    DefinitionInvalid,
    definition_check,
    definition_read,
)
from marketplace.pipelines.models import Pipeline


@transaction.atomic
def pipeline_apply(*, text: bytes, organisation: Organisation | None) -> tuple[Pipeline, bool]:
    """Define a pipeline or its next version; returns it, and whether anything changed.

    Raises :class:`DefinitionInvalid`.
    """
    definition = definition_read(text)
    names = [stage.model for stage in definition.stages]
    definition_check(
        definition, {row.name: row for row in models_published().filter(name__in=names)}
    )
    _check_name(definition, organisation)
    versions = Pipeline.objects.select_for_update().filter(name=definition.name)
    last = versions.order_by("-version").first()
    if last is not None and last.organisation != organisation:
        raise DefinitionInvalid(f"name: {definition.name} is somebody else's")
    if last is not None and last.published and last.definition == definition:
        return last, False
    made = Pipeline.objects.create(
        name=definition.name,
        version=last.version + 1 if last is not None else 1,
        organisation=organisation,
        definition_text=msgspec.json.encode(definition).decode(),
    )
    return made, True


@transaction.atomic
def pipeline_withdraw(*, name: str) -> bool:
    """Take a pipeline back: what was asked of it still runs. False if there is none."""
    rows = Pipeline.objects.filter(name=name, published=True)
    for row in rows:
        row.published = False
        row.save(update_fields=["published"])
    return bool(rows)


def _check_name(definition: Definition, organisation: Organisation | None) -> None:
    if AIModel.objects.filter(name=definition.name).exists():
        raise DefinitionInvalid(f"name: {definition.name} is a model")
    if organisation and definition.name.partition("/")[0] != organisation.slug:
        raise DefinitionInvalid(f"name: an organisation's own begin with {organisation.slug}/")

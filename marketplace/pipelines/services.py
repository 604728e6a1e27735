"""Defining pipelines and taking them back."""

import msgspec
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from marketplace.accounts.models import Organisation
from marketplace.catalog.models import AIModel
from marketplace.pipelines.definition import (
    Definition,
    DefinitionInvalid,
    Problem,
    definition_check,
    definition_read,
)
from marketplace.pipelines.models import Pipeline
from marketplace.pipelines.selectors import models_of

PIPELINES_MAX = 200
"""Names that an organisation may have, or that everybody's pipelines may."""
VERSIONS_MAX = 1_000


def pipeline_checked(*, text: bytes, organisation: Organisation | None) -> Definition:
    """Read a definition and check all of it, without defining anything.

    Raises :class:`DefinitionInvalid`.
    """
    definition = definition_read(text)
    definition_check(definition, models_of(definition))
    _check_name(definition, organisation)
    return definition


@transaction.atomic
def pipeline_apply(*, text: bytes, organisation: Organisation | None) -> tuple[Pipeline, bool]:
    """Define a pipeline or its next version; returns it, and whether anything changed.

    Raises :class:`DefinitionInvalid`.
    """
    definition = pipeline_checked(text=text, organisation=organisation)
    last = _last(definition.name)
    if last is not None and last.published and last.definition == definition:
        return last, False
    _check_bounds(last, organisation)
    made = Pipeline(
        name=definition.name,
        version=last.version + 1 if last is not None else 1,
        organisation=organisation,
        definition_text=msgspec.json.encode(definition).decode(),
    )
    try:
        with transaction.atomic():
            made.save()
    except IntegrityError as error:
        raise DefinitionInvalid(
            Problem(
                "name",
                _("%(name)s was defined at this very moment: try again")
                % {"name": definition.name},
            )
        ) from error
    return made, True


@transaction.atomic
def pipeline_withdraw(*, name: str) -> bool:
    """Take a pipeline back: what was asked of it still runs. False if there is none."""
    rows = Pipeline.objects.filter(name=name, published=True)
    for row in rows:
        row.published = False
        row.save(update_fields=["published"])
    return bool(rows)


def _last(name: str) -> Pipeline | None:
    rows = Pipeline.objects.select_for_update(of=("self",)).select_related("organisation")
    return rows.filter(name=name).order_by("-version").first()


def _check_name(definition: Definition, organisation: Organisation | None) -> None:
    name = definition.name
    if AIModel.objects.filter(name=name).exists():
        raise DefinitionInvalid(Problem("name", _("%(name)s is a model") % {"name": name}))
    if organisation and name.partition("/")[0] != organisation.slug:
        raise DefinitionInvalid(
            Problem(
                "name",
                _("an organisation's own begin with %(slug)s/") % {"slug": organisation.slug},
            )
        )
    last = Pipeline.objects.filter(name=name).order_by("-version").first()
    if last is not None and last.organisation != organisation:
        raise DefinitionInvalid(Problem("name", _("%(name)s is somebody else's") % {"name": name}))


def _check_bounds(last: Pipeline | None, organisation: Organisation | None) -> None:
    if last is not None:
        if last.version >= VERSIONS_MAX:
            raise DefinitionInvalid(
                Problem(
                    "name",
                    _("%(name)s has %(n)s versions: take another name")
                    % {"name": last.name, "n": VERSIONS_MAX},
                )
            )
        return
    own = Pipeline.objects.filter(organisation=organisation)
    if own.order_by().values("name").distinct().count() >= PIPELINES_MAX:
        raise DefinitionInvalid(
            Problem(
                "name",
                _("there are %(n)s pipelines already, withdrawn ones too") % {"n": PIPELINES_MAX},
            )
        )

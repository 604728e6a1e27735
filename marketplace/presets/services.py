"""Saving presets and retiring them. Routers have a change within seconds."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from marketplace.accounts.models import Organisation, User
from marketplace.presets.models import Preset
from marketplace.presets.rules import preset_check
from marketplace.shared.signals import catalog_changed

PRESETS_MAX = 20
"""Names that an organisation may have."""
VERSIONS_MAX = 1_000


@transaction.atomic
def preset_save(
    *,
    organisation: Organisation,
    name: str,
    model: str = "",
    system: str = "",
    parameters: dict[str, Any] | None = None,
    created_by: User | None = None,
) -> tuple[Preset, bool]:
    """Save a preset or its next version; returns it, and whether anything changed.

    Raises ``ValidationError`` by field.
    """
    Organisation.objects.select_for_update().get(pk=organisation.pk)
    own = Preset.objects.filter(organisation=organisation)
    last = own.filter(name=name).order_by("-version").first()
    said: dict[str, Any] = {"model": model, "system": system, "parameters": parameters or {}}
    if last and not last.retired and all(getattr(last, key) == said[key] for key in said):
        return last, False
    preset_check(**said, before=last.model if last else "")
    if last is None and own.order_by().values("name").distinct().count() >= PRESETS_MAX:
        raise ValidationError(
            {"name": _("There are %(n)s presets already, retired ones too.") % {"n": PRESETS_MAX}}
        )
    if last is not None and last.version >= VERSIONS_MAX:
        raise ValidationError(
            {"name": _("It has %(n)s versions: take another name.") % {"n": VERSIONS_MAX}}
        )
    made = Preset(
        organisation=organisation,
        name=name,
        version=last.version + 1 if last else 1,
        created_by=created_by,
        **said,
    )
    made.full_clean()
    made.save()
    catalog_changed.send(None)
    return made, True


@transaction.atomic
def preset_retire(*, preset: Preset) -> None:
    """Calls that name it are refused from now on. Saving it again brings it back."""
    rows = Preset.objects.filter(organisation=preset.organisation, name=preset.name, retired=False)
    for row in rows:
        row.retired = True
        row.save(update_fields=["retired"])
    catalog_changed.send(None)

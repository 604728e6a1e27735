"""Reading presets."""

from django.db.models import QuerySet

from marketplace.presets.models import Preset


def presets_last() -> QuerySet[Preset]:
    """The last version of each preset, retired ones too."""
    last = Preset.objects.order_by("organisation_id", "name", "-version")
    last = last.distinct("organisation_id", "name")
    return Preset.objects.filter(pk__in=last.values("pk")).select_related("organisation")


def presets_of(organisation_id: int) -> dict[str, Preset]:
    """The versions that an organisation's calls get, by their names."""
    rows = presets_in_force().filter(organisation=organisation_id)
    return {preset.name: preset for preset in rows}


def presets_in_force() -> QuerySet[Preset]:
    """The versions that calls get."""
    return presets_last().filter(retired=False).order_by("organisation_id", "name")

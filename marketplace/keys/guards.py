"""Guards: moderation models that judge the calls of an organisation or a key."""

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from marketplace.catalog.models import AIModel, Task


def guard_models() -> list[str]:
    """The names of those that can be chosen."""
    names = AIModel.objects.filter(task=Task.MODERATION).order_by("name")
    return list(names.values_list("name", flat=True))


def guard_model_check(name: str, *, before: str = "") -> str:
    """The name. ValidationError for a new one that no moderation model has."""
    if name not in ("", before) and name not in guard_models():
        raise ValidationError(_("There is no moderation model %(name)s.") % {"name": name})
    return name


def guards_to_choose(chosen: str) -> list[str]:
    """The same, and one that is chosen and has gone since."""
    names = guard_models()
    return [chosen, *names] if chosen and chosen not in names else names

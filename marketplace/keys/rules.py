"""Validation of a key's fields, for pages and API."""

from collections.abc import Iterable
from datetime import datetime

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.catalog.models import AIModel
from router.domain.catalog import OWN_MARK

MODELS_ALLOWED_MAX = 100
NAME_MAX = 120
"""As the column has it: names of organisations' own models are not looked up."""


def models_allowed_check(names: Iterable[str], *, before: Iterable[str] = ()) -> list[str]:
    """The names without duplicates. ValidationError for a new name that no model has.

    Names of organisations' own models are taken as they are: nobody may learn which there are.
    """
    wanted = list(dict.fromkeys(names))
    if len(wanted) > MODELS_ALLOWED_MAX:
        raise ValidationError(
            _("At most %(n)s models: leave it empty to allow all.") % {"n": MODELS_ALLOWED_MAX}
        )
    if any(len(name) > NAME_MAX for name in wanted):
        raise ValidationError(_("A model's name has at most %(n)s characters.") % {"n": NAME_MAX})
    new = {name for name in wanted if not name.startswith(OWN_MARK)} - set(before)
    known = set(AIModel.objects.filter(name__in=new).values_list("name", flat=True))
    if unknown := sorted(new - known):
        raise ValidationError(
            _("There is no model %(names)s; names look like author/slug.")
            % {"names": ", ".join(unknown)}
        )
    return wanted


def expiry_check(expires_at: datetime | None, *, before: datetime | None = None) -> datetime | None:
    """The expiry. ValidationError for a new one in the past."""
    if expires_at is not None and expires_at != before and expires_at <= timezone.now():
        raise ValidationError(
            _("This time has passed: choose a later one, or revoke the key to end it now.")
        )
    return expires_at

"""Limits of some of a key's calls: those of a model, of each end user, or of both."""

from collections.abc import Iterable
from typing import Any

import msgspec
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from msgspec import Struct

from marketplace.accounts.models import LIMIT_FIELDS, LIMIT_MAX
from marketplace.catalog.models import AIModel

RULES_MAX = 20
"""The most rules of a key: each is checked on each call."""
NANO_MAX = 2**53
"""The most that JSON's readers keep exact: nine million dollars."""
RULE_LIMITS = (*LIMIT_FIELDS, "nano_per_day")


class Rule(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A rule as a key stores it; 0 means no limit, and "" every model."""

    model: str = ""
    each_user: bool = False
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    calls_at_once: int = 0
    nano_per_day: int = 0


def rules_of(stored: object) -> list[Rule]:
    """The rules of a key."""
    return msgspec.convert(stored, list[Rule])


def rules_check(rules: Iterable[Rule], *, before: Iterable[Rule] = ()) -> list[dict[str, Any]]:
    """The rules as a key stores them. ValidationError for one that limits nothing, or twice the
    same, or names a new model that does not exist.
    """
    wanted = list(rules)
    if len(wanted) > RULES_MAX:
        raise ValidationError(_("At most %(n)s limits of a key.") % {"n": RULES_MAX})
    for rule in wanted:
        if not rule.model and not rule.each_user:
            raise ValidationError(_("A limit is of a model, of each end user, or of both."))
        if not any(getattr(rule, name) for name in RULE_LIMITS):
            raise ValidationError(_("A limit needs a number."))
        for name in RULE_LIMITS:
            if not 0 <= getattr(rule, name) <= (NANO_MAX if name == "nano_per_day" else LIMIT_MAX):
                raise ValidationError(_("A limit is out of range."))
    if len({(rule.model, rule.each_user) for rule in wanted}) < len(wanted):
        raise ValidationError(_("Two limits are of the same calls: make them one."))
    new = {rule.model for rule in wanted if rule.model} - {rule.model for rule in before}
    known = set(AIModel.objects.filter(name__in=new).values_list("name", flat=True))
    if unknown := sorted(new - known):
        raise ValidationError(
            _("There is no model %(names)s; names look like author/slug.")
            % {"names": ", ".join(unknown)}
        )
    return [msgspec.to_builtins(rule) for rule in wanted]

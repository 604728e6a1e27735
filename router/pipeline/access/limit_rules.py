"""A key's limits of some calls: of one model, of each of its owner's end users, or of both."""

from hashlib import blake2b

import msgspec
from msgspec import Raw

from router.contracts.wire import UNREADABLE
from router.domain.catalog import Limit, LimitRule
from router.domain.request import InferenceRequest
from router.pipeline.plans.routing_table import Grant

USER_FIELDS = ("user", "safety_identifier")
"""Fields that name an end user. Anthropic's ``metadata.user_id`` becomes the first one."""
DIGEST_BYTES = 8


def limits_by(grant: Grant, request: InferenceRequest) -> tuple[Limit, ...]:
    """The limits that a call of a whole model name counts under, those of its key included.

    Calls that name no end user count together as one.
    """
    ruled = [
        _limit(grant.key_id, rule, request)
        for rule in grant.rules
        if rule.model in {"", request.model}
    ]
    return (*grant.limits, *ruled)


def end_user_of(request: InferenceRequest) -> str:
    """The end user that a call is for, by its header or else its body; "" for none."""
    if request.end_user:
        return request.end_user
    for name in USER_FIELDS:
        given = request.fields.get(name)
        if given is not None and (user := _text(given)):
            return user
    return ""


def _limit(key_id: int, rule: LimitRule, request: InferenceRequest) -> Limit:
    scope = f"key:{key_id}:{rule.model}"
    if not rule.each_user:
        return Limit(scope, rule.limits, f"this API key's calls of {rule.model!r} are")
    scope += ":user:"
    # A digest, as a user may be called by anything of any length.
    user = blake2b(end_user_of(request).encode(), digest_size=DIGEST_BYTES).hexdigest()
    whose = f"each end user's calls of {rule.model!r} are" if rule.model else "each end user is"
    return Limit(scope + user, rule.limits, whose, pooled=scope)


def _text(given: Raw) -> str:
    try:
        value = msgspec.json.decode(given)
    except UNREADABLE:
        return ""
    return value if isinstance(value, str) else ""

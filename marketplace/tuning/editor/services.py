"""Publishes an edited policy, unless another version came in force since it was read."""

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel, Deployment
from marketplace.routing.models import Policy, PolicyKind
from marketplace.routing.services import PolicyWeights, policy_publish
from marketplace.routing.trials.models import Aim, Trial
from marketplace.tuning.services import canary_start, policy_in_force, policy_revert

CANARY_SHARE_MIN, CANARY_SHARE_MAX = 0.01, 0.5


class PolicyConflict(Exception):
    """The version in force is not the one that the editor started from; 0 means none."""

    def __init__(self, seen: int, current: Policy | None) -> None:
        super().__init__(
            f"version {seen} was in force when this was written; "
            f"{current.version if current else 0} is now: look at what changed, and send that "
            "number as expected_version"
        )
        self.seen = seen
        self.current = current


def draft_check(
    *, model: AIModel, kind: PolicyKind, note: str = "", weights: PolicyWeights
) -> Policy:
    """A policy as an unsaved row. Raises ``ValidationError`` by field."""
    draft = Policy(model=model, version=0, kind=kind, note=note, **weights)
    draft.clean_fields(exclude=["version", "state", "canary_share", "created_by"])
    known = {
        str(pk)
        for pk in Deployment.objects.filter(version__model=model).values_list("pk", flat=True)
    }
    foreign = sorted(set(draft.weights) - known)
    if foreign:
        raise ValidationError(
            {
                "weights": _("No deployment of this model: %(ids)s. There are: %(known)s.")
                % {"ids": ", ".join(foreign), "known": ", ".join(sorted(known)) or "–"}
            }
        )
    return draft


def policy_edit(
    *,
    model: AIModel,
    kind: PolicyKind,
    by: User,
    weights: PolicyWeights,
    note: str = "",
    expected_version: int | None = None,
    canary_share: float = 0.0,
    aim: Aim = Aim.LATENCY,
) -> Policy:
    """Put a policy in force, or on trial if ``canary_share`` (of the calls) is not 0.

    Raises ``ValidationError``, and :class:`PolicyConflict` where another version than
    ``expected_version`` is in force (None skips the check).
    """
    with transaction.atomic():
        _expect(model, expected_version)
        draft_check(model=model, kind=kind, note=note, weights=weights)
        if not canary_share:
            return policy_publish(model=model, kind=kind, note=note, created_by=by, **weights)
    if not CANARY_SHARE_MIN <= canary_share <= CANARY_SHARE_MAX:
        raise ValidationError(
            {
                "canary_share": _("A trial takes from %(least)d %% to %(most)d %% of the calls.")
                % {"least": 100 * CANARY_SHARE_MIN, "most": 100 * CANARY_SHARE_MAX}
            }
        )
    trial: Trial = canary_start(
        model=model, kind=kind, share=canary_share, aim=aim, note=note, by=by, weights=weights
    )
    return trial.policy


@transaction.atomic
def policy_roll_back(
    *, model: AIModel, to_version: int, by: User, expected_version: int | None = None
) -> Policy:
    """Publish an old version again. Raises as :func:`policy_edit` does."""
    _expect(model, expected_version)
    return policy_revert(model=model, to_version=to_version, by=by)


def _expect(model: AIModel, expected_version: int | None) -> None:
    # Publishing locks this row, so the version in force cannot change in this transaction.
    AIModel.objects.select_for_update().get(pk=model.pk)
    current = policy_in_force(model)
    if expected_version is not None and expected_version != (current.version if current else 0):
        raise PolicyConflict(expected_version, current)

"""How a listing gets from draft to live, and who takes each step, in one table. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class ListingState(TextChoices):
    DRAFT = "draft", _("Draft")
    CHECKING = "checking", _("Being checked")
    CHECKED = "checked", _("Checked")
    BENCHMARKING = "benchmarking", _("Being measured")
    BENCHMARKED = "benchmarked", _("Measured")
    REVIEW = "review", _("In review")
    LIVE = "live", _("Live")
    PAUSED = "paused", _("Paused")
    SUSPENDED = "suspended", _("Suspended")
    RETIRED = "retired", _("Retired")


class ListingAction(TextChoices):
    """What is done to a listing. The system takes those that belong to nobody."""

    SUBMIT = "submit", _("Submit for the check")
    PASS = "pass", _("Check passed")
    FAIL = "fail", _("Check failed")
    CANCEL = "cancel", _("Cancel")
    BENCHMARK = "benchmark", _("Measure")
    MEASURED = "measured", _("Measured")
    UNMEASURED = "unmeasured", _("Measurement failed")
    REQUEST_REVIEW = "request-review", _("Request review")
    WITHDRAW = "withdraw", _("Withdraw from review")
    APPROVE = "approve", _("Approve: go live")
    SEND_BACK = "send-back", _("Send back")
    PAUSE = "pause", _("Pause")
    RESUME = "resume", _("Resume")
    SUSPEND = "suspend", _("Suspend")
    REINSTATE = "reinstate", _("Reinstate")
    REVISE = "revise", _("Revise")
    RETIRE = "retire", _("Retire permanently")


class Who(StrEnum):
    PROVIDER = "provider"
    STAFF = "staff"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Step:
    """Where an action leads, and who may take it."""

    to: ListingState
    by: frozenset[Who]


class StepRefused(ValueError):
    """The listing's state does not allow the action, or not for this side."""


S, A = ListingState, ListingAction
_PROVIDER, _STAFF, _SYSTEM = (frozenset({who}) for who in Who)

STEPS: Mapping[tuple[ListingState, ListingAction], Step] = {
    (S.DRAFT, A.SUBMIT): Step(S.CHECKING, _PROVIDER),
    (S.CHECKING, A.PASS): Step(S.CHECKED, _SYSTEM),
    (S.CHECKING, A.FAIL): Step(S.DRAFT, _SYSTEM),
    (S.CHECKING, A.CANCEL): Step(S.DRAFT, _PROVIDER),
    (S.CHECKED, A.BENCHMARK): Step(S.BENCHMARKING, _PROVIDER),
    (S.BENCHMARKED, A.BENCHMARK): Step(S.BENCHMARKING, _PROVIDER),
    (S.BENCHMARKING, A.MEASURED): Step(S.BENCHMARKED, _SYSTEM),
    (S.BENCHMARKING, A.UNMEASURED): Step(S.CHECKED, _SYSTEM),
    (S.BENCHMARKING, A.CANCEL): Step(S.CHECKED, _PROVIDER),
    (S.BENCHMARKED, A.REQUEST_REVIEW): Step(S.REVIEW, _PROVIDER),
    (S.REVIEW, A.WITHDRAW): Step(S.BENCHMARKED, _PROVIDER),
    (S.REVIEW, A.SEND_BACK): Step(S.DRAFT, _STAFF),
    (S.REVIEW, A.APPROVE): Step(S.LIVE, _STAFF),
    (S.LIVE, A.PAUSE): Step(S.PAUSED, _PROVIDER),
    (S.PAUSED, A.RESUME): Step(S.LIVE, _PROVIDER),
    # A provider cannot restart what staff suspended.
    (S.LIVE, A.SUSPEND): Step(S.SUSPENDED, _STAFF),
    (S.PAUSED, A.SUSPEND): Step(S.SUSPENDED, _STAFF),
    (S.SUSPENDED, A.REINSTATE): Step(S.LIVE, _STAFF),
    # What is changed is checked and measured again.
    (S.CHECKED, A.REVISE): Step(S.DRAFT, _PROVIDER),
    (S.BENCHMARKED, A.REVISE): Step(S.DRAFT, _PROVIDER),
    (S.PAUSED, A.REVISE): Step(S.DRAFT, _PROVIDER),
    **{
        (state, A.RETIRE): Step(S.RETIRED, _PROVIDER | _STAFF)
        for state in (S.DRAFT, S.CHECKED, S.BENCHMARKED, S.LIVE, S.PAUSED, S.SUSPENDED)
    },
}

WHY_NEEDED = frozenset({A.SEND_BACK, A.SUSPEND})
"""Actions whose reason the provider sees."""
BY_PEOPLE = tuple(
    action
    for action in A
    if any(step.by - {Who.SYSTEM} for (_state, item), step in STEPS.items() if item is action)
)
"""Actions that a person or a key can ask for."""


def step_of(state: ListingState | str, action: ListingAction | str, who: Who) -> Step:
    """The step that this is. Raises :class:`StepRefused` with what would be possible."""
    step = STEPS.get((ListingState(state), ListingAction(action)))
    if step is None:
        possible = ", ".join(actions_of(state, who)) or "nothing"
        raise StepRefused(f"A listing that is {state} cannot {action}; possible: {possible}.")
    if who not in step.by:
        raise StepRefused(f"{action} is for {' or '.join(sorted(step.by))}, not for {who}.")
    return step


def actions_of(state: ListingState | str, who: Who) -> list[ListingAction]:
    """The actions that a side may take in this state, in the table's order."""
    return [action for (item, action), step in STEPS.items() if item == state and who in step.by]

"""The table of a listing's way: who may take which step, and that nothing is a dead end."""

import pytest

from marketplace.providers.listings.states import (
    BY_PEOPLE,
    STEPS,
    ListingAction,
    ListingState,
    StepRefused,
    Who,
    actions_of,
    step_of,
)

S, A = ListingState, ListingAction


def test_the_way_from_draft_to_live() -> None:
    state = S.DRAFT
    for action, who in (
        (A.SUBMIT, Who.PROVIDER),
        (A.PASS, Who.SYSTEM),
        (A.BENCHMARK, Who.PROVIDER),
        (A.MEASURED, Who.SYSTEM),
        (A.REQUEST_REVIEW, Who.PROVIDER),
        (A.APPROVE, Who.STAFF),
    ):
        state = step_of(state, action, who).to
    assert state is S.LIVE


def test_only_staff_put_something_new_on_sale() -> None:
    to_live = {
        (state, action): step.by
        for (state, action), step in STEPS.items()
        if step.to is S.LIVE and Who.PROVIDER in step.by
    }
    assert to_live == {(S.PAUSED, A.RESUME): frozenset({Who.PROVIDER})}


def test_what_was_changed_has_to_be_checked_again() -> None:
    assert {action for (state, action) in STEPS if state is S.DRAFT} == {A.SUBMIT, A.RETIRE}
    assert STEPS[S.PAUSED, A.REVISE].to is S.DRAFT
    assert (S.LIVE, A.REVISE) not in STEPS


def test_what_staff_stopped_its_provider_does_not_start() -> None:
    with pytest.raises(StepRefused, match="reinstate is for staff"):
        step_of(S.SUSPENDED, A.REINSTATE, Who.PROVIDER)
    assert actions_of(S.SUSPENDED, Who.PROVIDER) == [A.RETIRE]


def test_a_refusal_says_what_would_be_possible() -> None:
    with pytest.raises(StepRefused, match="that is live cannot submit; possible: pause, retire"):
        step_of(S.LIVE, A.SUBMIT, Who.PROVIDER)


def test_every_state_is_reached_and_left_but_the_last() -> None:
    assert {step.to for step in STEPS.values()} == set(S)
    assert {state for state, _action in STEPS} == set(S) - {S.RETIRED}


def test_the_systems_own_actions_are_nobodys_to_ask_for() -> None:
    assert set(A) - set(BY_PEOPLE) == {A.PASS, A.FAIL, A.MEASURED, A.UNMEASURED}

"""A batch ends soon after an ideal split of its work would, though a worker is a straggler."""

import pytest

from router.simulator.batch import COPIES, RATIO_MAX, SERVICE_MS, TOLD_MS, fleet, run_batch

PIECES = 400


@pytest.mark.parametrize("told", TOLD_MS)
def test_a_batch_takes_little_longer_than_the_ideal_split(told: str) -> None:
    run = run_batch(fleet(TOLD_MS[told]), PIECES, 1, COPIES)
    assert run.ratio <= RATIO_MAX
    assert run.answered == PIECES


def test_copies_are_what_makes_up_for_a_worker_that_is_believed_to_be_fast() -> None:
    without = run_batch(fleet(SERVICE_MS), PIECES, 1, 0.0)
    assert without.ratio > RATIO_MAX
    assert 0 < run_batch(fleet(SERVICE_MS), PIECES, 1, COPIES).copies <= COPIES * PIECES

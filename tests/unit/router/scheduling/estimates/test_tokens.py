"""How many tokens prompts and answers are expected to have."""

import pytest

from router.scheduling.estimates.tokens import TokenEstimates


def test_prompts_are_estimated_from_bytes_as_workers_count_them() -> None:
    tokens = TokenEstimates()
    assert tokens.error("m") is None
    assert tokens.prompt("m", 400) == 100
    for _ in range(300):
        tokens.counted("m", 300, 100)
    assert tokens.prompt("m", 300) == pytest.approx(100, rel=0.02)
    assert tokens.error("m") == pytest.approx(0, abs=0.02)
    assert tokens.prompt("other", 400) == 100


def test_answers_are_expected_by_tenant_and_bound_once_enough_were_seen() -> None:
    tokens = TokenEstimates()
    for _ in range(30):
        tokens.answered("m", 1, 0, 400)
        tokens.answered("m", 2, 0, 10)
    assert tokens.answer("m", 1, 0) == pytest.approx(400, rel=0.05)
    assert tokens.answer("m", 2, 0) == pytest.approx(10, rel=0.5)
    assert tokens.answer("m", 1, 50) <= 50
    assert 10 < tokens.answer("m", 3, 0) < 400

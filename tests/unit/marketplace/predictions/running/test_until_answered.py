"""What ends the wait for an answer."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from marketplace.predictions.calls.answers import Served
from marketplace.predictions.calls.conversation import Answered, Piece, Refused
from marketplace.predictions.models import Prediction
from marketplace.predictions.running.job import until_answered
from marketplace.shared.jobs.services import JobFailed, JobStopped


def waited(piece: Piece, left_s: float) -> Answered:
    """With so much time left when this piece comes."""
    said: list[str] = []
    prediction = Prediction(deadline_at=timezone.now() + timedelta(seconds=left_s))
    run: Any = SimpleNamespace(job=prediction, progress=lambda share: None)
    conversation: Any = SimpleNamespace(next=lambda timeout_s: piece)
    note: Any = SimpleNamespace(add=said.append)
    return until_answered(run, conversation, note, print)


def test_a_conversation_that_gives_up_at_the_deadline_is_stopped_by_it() -> None:
    """Its own clock ends at the same time, and whichever is seen first says how it ended."""
    with pytest.raises(JobStopped):
        waited(Refused("the router gave no answer in time"), left_s=-0.01)


def test_one_that_is_refused_before_it_fails() -> None:
    with pytest.raises(JobFailed, match="no such field"):
        waited(Refused("no such field"), left_s=60)


def test_an_answer_counts_though_it_is_late() -> None:
    assert waited(Answered({}, Served()), left_s=-0.01).output == {}

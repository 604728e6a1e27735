"""Answers that a job checks, and the command that asks for them."""

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from marketplace.planning.advisor import services
from marketplace.planning.advisor.answer import answer_of
from marketplace.planning.advisor.models import Advice, AdviceState
from marketplace.planning.advisor.question import Question
from marketplace.planning.asking import QuestionInvalid, QueueFull
from marketplace.shared.jobs.services import job_run_next
from tests.integration.marketplace.planning.advisor.yards import ASKED, NAME
from tests.integration.marketplace.shop import Shop
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_a_model_nobody_knows_is_refused(yard: Shop) -> None:
    with pytest.raises(QuestionInvalid, match="neither in the catalog"):
        services.answer_question(Question(**{**ASKED, "model": "no/body"}))


def test_an_answer_is_checked_by_a_job_and_says_so(yard: Shop) -> None:
    advice = services.advice_make(
        organisation=yard.organisation, user=yard.owner, question=Question(**ASKED)
    )
    assert advice.check_state == AdviceState.QUEUED
    assert answer_of(advice.answer).check is None
    assert job_run_next(Advice) == advice
    advice.refresh_from_db()
    assert advice.check_state == AdviceState.CHECKED
    made = answer_of(advice.answer)
    assert made.check is not None
    assert made.check.complete
    assert made.check.figures is not None
    assert made.check.figures.within[1] >= 0.9
    assert made.fleet is not None
    assert job_run_next(Advice) is None


def test_too_many_waiting_checks_are_refused(yard: Shop) -> None:
    for _ in range(services.WAITING_MAX):
        services.advice_make(organisation=yard.organisation, user=None, question=Question(**ASKED))
    with pytest.raises(QueueFull):
        services.advice_make(organisation=yard.organisation, user=None, question=Question(**ASKED))


def test_the_command_answers_and_checks(yard: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [NAME, "--rate", "20", "--slo", "p90=900", "--size-cv", "0.5"]
    call_command("advise", *asked, "--check", "--seconds", str(PATIENCE_S))
    received = capsys.readouterr().out
    assert "x fast (CPU; measured)" in received
    assert "emulated:" in received
    assert "no cheaper one meets the SLO" in received


def test_the_command_refuses_what_makes_no_sense(yard: Shop) -> None:
    for arguments in (
        [NAME, "--rate", "20", "--slo", "soon"],
        [NAME, "--rate", "-1", "--slo", "p90=900"],
        ["no/body", "--rate", "1", "--slo", "p90=900"],
        [NAME, "--rate", "1", "--slo", "p90=900", "--price", "x=y"],
    ):
        with pytest.raises(CommandError):
            call_command("advise", *arguments)

"""Asking, checking and starting pilots."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.models import Organisation, User
from marketplace.benchmarks.advisor.answer import Answer, answer, answer_json, answer_of
from marketplace.benchmarks.advisor.catalogue import options_of, task_of
from marketplace.benchmarks.advisor.models import Advice, AdviceState
from marketplace.benchmarks.advisor.option import Evidence
from marketplace.benchmarks.advisor.question import Question, QuestionInvalid
from marketplace.benchmarks.models import Benchmark, Scenario, Target, Trigger
from marketplace.benchmarks.plan import (
    COMPLETION_TOKENS_MAX,
    LOAD_MAX,
    LOADS_MAX,
    PROMPT_TOKENS_MAX,
    ROWS_MAX,
    SECONDS_MAX,
    SLO_MS_MAX,
)
from marketplace.benchmarks.selectors import workers_of
from marketplace.benchmarks.services import benchmark_request
from marketplace.catalog.models import Deployment

CHECK_SECONDS = 45.0
"""A job's search ends then, finished or not; well below the longest run of a task."""
LOST_AFTER = timedelta(minutes=5)
"""A check that says nothing for so long has lost its process, and is taken up again."""
ATTEMPTS_MAX = 2
WAITING_MAX = 10
"""Checks of one organisation that wait at once."""


class TooManyChecks(Exception):
    """Earlier ones have to end first."""


class PilotImpossible(Exception):
    """The message says why."""


def answer_question(
    question: Question,
    *,
    check_seconds: float = 0.0,
    progress: Callable[[str, int], None] = lambda stage, runs: None,
) -> Answer:
    """Answer without keeping it. Raises :class:`QuestionInvalid` for a model nobody knows."""
    task = task_of(question.model)
    if task is None:
        raise QuestionInvalid(
            "model", f"{question.model!r} is neither in the catalog nor published"
        )
    return answer(
        question,
        options_of(question),
        task=task,
        check_seconds=check_seconds,
        progress=progress,
    )


def advice_make(
    *, organisation: Organisation, user: User | None, question: Question, check: bool = True
) -> Advice:
    """Answer by the model and keep it; with ``check`` a job refines it by emulation.

    Raises :class:`QuestionInvalid` and :class:`TooManyChecks`.
    """
    waiting = Advice.objects.filter(
        organisation=organisation, state__in=[AdviceState.QUEUED, AdviceState.CHECKING]
    )
    if check and waiting.count() >= WAITING_MAX:
        raise TooManyChecks(f"{WAITING_MAX} answers wait to be checked; ask again when some are")
    made = answer_question(question)
    has_choice = any(not option.left_out for option in made.options)
    return Advice.objects.create(
        organisation=organisation,
        requested_by=user,
        model=question.model,
        question=msgspec.to_builtins(question),
        answer=answer_json(made),
        state=AdviceState.QUEUED if check and has_choice else AdviceState.ANSWERED,
        emulated=_rests_on_emulation(made),
    )


def advice_check_next() -> Advice | None:
    """Check the oldest that waits; None if none does. One process checks one at a time."""
    advice = _claim()
    if advice is None:
        return None

    def progress(stage: str, runs: int) -> None:
        Advice.objects.filter(pk=advice.pk).update(
            stage=stage, runs=runs, started_at=timezone.now()
        )

    try:
        question = msgspec.convert(advice.question, Question)
        made = answer_question(question, check_seconds=CHECK_SECONDS, progress=progress)
    except (QuestionInvalid, msgspec.ValidationError, ValueError) as error:
        advice.state, advice.error = AdviceState.FAILED, str(error)[:300]
    else:
        advice.state, advice.answer = AdviceState.CHECKED, answer_json(made)
        advice.emulated = _rests_on_emulation(made)
    advice.ended_at = timezone.now()
    advice.save(update_fields=["state", "answer", "error", "emulated", "ended_at"])
    return advice


def pilot_start(*, advice: Advice, deployment_id: int, user: User | None) -> Benchmark:
    """Benchmark a deployment that the answer has doubts about. Raises :class:`PilotImpossible`.

    At the asked sizes, and over concurrencies: those make a profile, which rates do not.
    """
    pilots = [p for p in answer_of(advice.answer).pilots if p.deployment_id == deployment_id]
    deployment = (
        Deployment.objects.filter(pk=deployment_id).select_related("version__model").first()
    )
    if not pilots or deployment is None or not deployment_id:
        raise PilotImpossible(_("The answer asks for no pilot on that deployment."))
    question = msgspec.convert(advice.question, Question)
    try:
        return benchmark_request(
            model=deployment.version.model,
            target=Target.DEPLOYMENT,
            scenario=Scenario.OFFLINE,
            deployment=deployment,
            trigger=Trigger.PILOT,
            reason=f"advice {advice.pk}: {pilots[0].reason}",
            requested_by=user,
            settings=_pilot_settings(question, deployment),
        )
    except ValidationError as error:
        raise PilotImpossible("; ".join(error.messages)) from error


def _pilot_settings(question: Question, deployment: Deployment) -> dict[str, Any]:
    """The question as a plan's settings, its sizes cut to what a benchmark sends at most."""
    workers = workers_of(deployment.version.model, deployment=deployment)
    slots = max((worker.slots for worker in workers), default=1)
    steps = {slots, *(2**power for power in range(slots.bit_length()) if 2**power < slots)}
    loads = sorted({min(step * max(len(workers), 1), int(LOAD_MAX)) for step in steps})
    return {
        "loads": loads[:LOADS_MAX],
        "seconds_max": SECONDS_MAX,
        "slo_ms": min(question.slo_ms, SLO_MS_MAX),
        "percentile": question.share,
        "prompt_tokens": min(round(question.prompt_tokens), PROMPT_TOKENS_MAX),
        "completion_tokens": min(round(question.completion_tokens), COMPLETION_TOKENS_MAX),
        "rows": min(round(question.rows), ROWS_MAX),
    }


@transaction.atomic
def _claim() -> Advice | None:
    lost = Q(state=AdviceState.CHECKING, started_at__lt=timezone.now() - LOST_AFTER)
    # A check fills a core and a process of its queue: one runs at a time.
    if Advice.objects.filter(state=AdviceState.CHECKING).exclude(lost).exists():
        return None
    advice = (
        Advice.objects.select_for_update(skip_locked=True)
        .filter(lost | Q(state=AdviceState.QUEUED))
        .order_by("id")
        .first()
    )
    if advice is None:
        return None
    if advice.attempts >= ATTEMPTS_MAX:
        advice.state, advice.error = AdviceState.FAILED, "its process was lost; ask again"
        advice.save(update_fields=["state", "error"])
        return None
    advice.state, advice.started_at = AdviceState.CHECKING, timezone.now()
    advice.attempts += 1
    advice.save(update_fields=["state", "started_at", "attempts"])
    return advice


def _rests_on_emulation(made: Answer) -> bool:
    lines = made.fleet.lines if made.fleet else ()
    return any(line.evidence == Evidence.EMULATED for line in lines)

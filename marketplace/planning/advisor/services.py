"""Asking, checking and starting pilots."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from marketplace.accounts.models import Organisation, User
from marketplace.benchmarks.loadgen.plan import (
    COMPLETION_TOKENS_MAX,
    LOAD_MAX,
    LOADS_MAX,
    PROMPT_TOKENS_MAX,
    ROWS_MAX,
    SECONDS_MAX,
    SLO_MS_MAX,
)
from marketplace.benchmarks.models import Benchmark, Scenario, Target, Trigger
from marketplace.benchmarks.selectors import workers_of
from marketplace.benchmarks.services import benchmark_request
from marketplace.catalog.models import Deployment
from marketplace.planning.advisor.answer import Answer, answer, answer_of
from marketplace.planning.advisor.fleets.option import Evidence
from marketplace.planning.advisor.models import Advice
from marketplace.planning.advisor.options.catalogue import options_of, task_of
from marketplace.planning.advisor.question import Question
from marketplace.planning.asking import QuestionInvalid, queue_check
from marketplace.shared.jobs.models import STATES_OPEN, JobState
from marketplace.shared.jobs.services import JobFailed, Run, job_ask

CHECK_SECONDS = 45.0
"""A job's search ends then, whether it has finished or not. A job may take longer."""
WAITING_MAX = 10
"""Most checks of an organisation that wait."""


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
        raise QuestionInvalid("model", f"{question.model} is neither in the catalog nor published")
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

    Raises :class:`QuestionInvalid` and :class:`QueueFull`.
    """
    if check:
        waiting = Advice.objects.filter(organisation=organisation, state__in=STATES_OPEN)
        queue_check(waiting, WAITING_MAX)
    made = answer_question(question)
    advice = Advice(
        organisation=organisation,
        asked_by=user,
        model=question.model,
        question=msgspec.to_builtins(question),
        answer=msgspec.to_builtins(made),
        emulated=_rests_on_emulation(made),
    )
    if check and any(not option.left_out for option in made.options):
        job_ask(advice)
    else:
        advice.state = JobState.SUCCEEDED
        advice.save()
    return advice


def advice_check(run: Run) -> dict[str, Any]:
    """The work of the job: the columns to keep."""
    begun_s = time.monotonic()

    def progress(stage: str, runs: int) -> None:
        run.progress((time.monotonic() - begun_s) / CHECK_SECONDS, stage=stage, runs=runs)

    try:
        question = msgspec.convert(run.job.question, Question)
        made = answer_question(question, check_seconds=CHECK_SECONDS, progress=progress)
    except ValueError as error:
        raise JobFailed(str(error)) from error
    return {"answer": msgspec.to_builtins(made), "emulated": _rests_on_emulation(made)}


def pilot_start(*, advice: Advice, deployment_id: int, user: User | None) -> Benchmark:
    """Benchmark a deployment that the answer has doubts about. Raises :class:`PilotImpossible`.

    At the asked sizes, and over concurrencies: those make a profile, which rates do not.
    """
    pilots = [p for p in answer_of(advice.answer).pilots if p.deployment_id == deployment_id]
    deployment = (
        Deployment.objects.filter(pk=deployment_id).select_related("version__model").first()
    )
    if not pilots or deployment is None or not deployment_id:
        raise PilotImpossible(_("The answer does not suggest a pilot on that deployment."))
    question = msgspec.convert(advice.question, Question)
    try:
        return benchmark_request(
            model=deployment.version.model,
            target=Target.DEPLOYMENT,
            scenario=Scenario.OFFLINE,
            deployment=deployment,
            trigger=Trigger.PILOT,
            reason=f"advice {advice.pk}: {pilots[0].reason}",
            asked_by=user,
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


def _rests_on_emulation(made: Answer) -> bool:
    lines = made.fleet.lines if made.fleet else ()
    return any(line.evidence == Evidence.EMULATED for line in lines)

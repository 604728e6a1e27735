"""Checks of one endpoint in order: is it there, is it well, has it the model, does it answer?"""

from collections.abc import AsyncIterator

from marketplace.providers.conformance.checks import Check
from marketplace.providers.conformance.findings import (
    FAIL,
    WARN,
    Finding,
    Reply,
    Target,
    found,
    unanswered,
)
from marketplace.providers.conformance.http import Client
from marketplace.providers.conformance.openai.chat import check_chat
from marketplace.providers.conformance.openai.whole_answers import WHOLE_ANSWERS, check_whole_answer

MODELS = "/v1/models"


async def check_openai(client: Client, target: Target) -> AsyncIterator[Finding]:
    """Everything about one endpoint, in order; ends early where nothing further can be asked."""
    models = await client.get(MODELS)
    if models.error:
        yield unanswered(Check.REACHABLE, models) or found(Check.REACHABLE, models)
        return
    yield found(Check.REACHABLE, models)
    yield await _health(client, models)
    yield _listed(models, target.model)
    findings = (
        check_chat(client, target)
        if target.task == "chat"
        else check_whole_answer(client, target, WHOLE_ANSWERS[target.task])
    )
    async for finding in findings:
        yield finding


async def _health(client: Client, models: Reply) -> Finding:
    """As the platform's prober asks: /health, and /v1/models where there is none."""
    health = await client.get("/health")
    if health.ok:
        return found(Check.HEALTH, health)
    if health.status == 404 and models.ok:
        return found(Check.HEALTH, models)
    if health.error:
        return unanswered(Check.HEALTH, health) or found(Check.HEALTH, health)
    return found(Check.HEALTH, health, FAIL, "unhealthy", status=health.status, path="/health")


def _listed(models: Reply, model: str) -> Finding:
    rows = models.body().get("data")
    if not models.ok or not isinstance(rows, list):
        return found(Check.MODEL_LISTED, models, WARN, "no_model_list", path=MODELS)
    known = [str(row.get("id")) for row in rows if isinstance(row, dict)]
    if model in known:
        return found(Check.MODEL_LISTED, models)
    shown = ", ".join(known[:5]) or "–"
    return found(Check.MODEL_LISTED, models, FAIL, "model_missing", known=shown, model=model)

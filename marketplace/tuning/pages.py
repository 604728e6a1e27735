"""The page of a route for staff: settings, trials and history."""

from collections.abc import Callable
from typing import Any

import msgspec
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from marketplace.accounts.access import staff_required
from marketplace.accounts.models import User
from marketplace.benchmarks.models import Benchmark
from marketplace.catalog.models import AIModel
from marketplace.routing.models import Policy
from marketplace.routing.trials.aim import Aim
from marketplace.routing.trials.events import DEMO, tuned_by
from marketplace.routing.trials.models import RoutingEvent, Straggler, Trial
from marketplace.shared.confirming import confirmation, is_confirmed
from marketplace.shared.numbers import whole
from marketplace.tuning import sentences
from marketplace.tuning.editor.services import PolicyConflict, policy_roll_back
from marketplace.tuning.forms import TuningForm
from marketplace.tuning.loop import propose_from_benchmark
from marketplace.tuning.proofs.proof import Figure, Proof, Share, Trust
from marketplace.tuning.services import (
    policy_in_force,
    trial_approve,
    trial_dismiss,
    trial_roll_back,
    tuning_of,
    tuning_set,
)
from marketplace.usage.selectors import calls_lately, calls_lately_text

VERSIONS_SHOWN = EVENTS_SHOWN = 50
WHY_CHARACTERS = 200
ACTIONS: dict[str, Callable[..., Trial]] = {
    "approve": trial_approve,
    "dismiss": trial_dismiss,
    "rollback": trial_roll_back,
}


@require_safe
@staff_required
def route(request: HttpRequest, author: str, slug: str) -> HttpResponse:
    """The page of a model's route."""
    return _page(request, _model(author, slug))


@require_POST
@staff_required
def route_tune(request: HttpRequest, author: str, slug: str) -> HttpResponse:
    """Change the route's settings."""
    model, form = _model(author, slug), TuningForm(request.POST)
    if not form.is_valid():
        return _page(request, model, form=form, status=422)
    tuning_set(tuning=tuning_of(model), by=_user(request), **form.values)
    return redirect("route", author, slug)


@require_POST
@staff_required
def route_revert(request: HttpRequest, author: str, slug: str) -> HttpResponse:
    """Publish an old version again."""
    model, version = _model(author, slug), whole(request.POST.get("version", ""))
    if version is None:
        return _page(request, model, refused=[_("Choose a version.")], status=422)
    if model.policies.filter(version=version).exists() and not is_confirmed(request):
        return _ask_again(
            request,
            model,
            _("Republish version %(version)s of %(model)s?")
            % {"version": version, "model": model.name},
            _("All of its calls use that version within seconds. A running trial ends."),
            _("Republish"),
        )
    seen = request.POST.get("expected_version", "")
    return _done(
        request,
        model,
        lambda: policy_roll_back(
            model=model,
            to_version=version,
            by=_user(request),
            # What is no version is not the one in force.
            expected_version=whole(seen) or 0 if seen else None,
        ),
    )


@require_POST
@staff_required
def trial_conclude(request: HttpRequest, trial_id: int, action: str) -> HttpResponse:
    """Approve or dismiss a proposal, or roll a trial back."""
    trial = get_object_or_404(Trial.objects.select_related("policy__model"), pk=trial_id)
    if action == "rollback" and not is_confirmed(request):
        return _ask_again(
            request,
            trial.policy.model,
            _("Roll back the trial on %(model)s?") % {"model": trial.policy.model.name},
            _("All of its calls use the version in force. The trial ends with the results so far."),
            _("Roll back now"),
        )
    values: dict[str, Any] = {"trial": trial, "by": _user(request)}
    if action != "approve":
        why = request.POST.get("why", "").replace("\x00", "")
        values["why"] = why.strip()[:WHY_CHARACTERS]
    return _done(request, trial.policy.model, lambda: ACTIONS[action](**values))


@require_POST
@staff_required
def benchmark_propose(request: HttpRequest, benchmark_id: int) -> HttpResponse:
    """Propose a weight from a benchmark."""
    benchmark = get_object_or_404(Benchmark.objects.select_related("model"), pk=benchmark_id)
    return _done(
        request,
        benchmark.model,
        lambda: propose_from_benchmark(benchmark=benchmark, by=_user(request)),
    )


def _ask_again(
    request: HttpRequest, model: AIModel, question: str, effect: str, verb: str
) -> HttpResponse:
    calls = calls_lately_text(calls_lately(model=model.name))
    return confirmation(
        request,
        question=question,
        effects=[effect, _("The model had:") + " " + calls],
        verb=verb,
        back=reverse("route", args=[model.author, model.slug]),
    )


def _done(request: HttpRequest, model: AIModel, act: Callable[[], object]) -> HttpResponse:
    try:
        act()
    except PolicyConflict as conflict:
        now = conflict.current.version if conflict.current else 0
        refused = [
            _(
                "Not done: version %(seen)s was in force when this page was loaded, and version "
                "%(now)s is now. Look at what changed, then choose again."
            )
            % {"seen": conflict.seen, "now": now}
        ]
        return _page(request, model, refused=refused, status=409)
    except ValidationError as error:
        why = request.POST.get("why", "").strip()
        # The form that it was typed in may be gone with the trial.
        wrote = [_("You wrote: %(why)s") % {"why": why}] if why else []
        return _page(request, model, refused=[*error.messages, *wrote], status=422)
    return redirect("route", model.author, model.slug)


def _page(
    request: HttpRequest,
    model: AIModel,
    *,
    form: TuningForm | None = None,
    refused: list[str] | None = None,
    status: int = 200,
) -> HttpResponse:
    tuning = tuning_of(model)
    trials = Trial.objects.filter(policy__model=model).select_related(
        "policy", "baseline", "asked_by"
    )
    latest = trials.first()
    versions = list(
        model.policies.select_related("created_by", "trial").order_by("-version")[:VERSIONS_SHOWN]
    )
    in_force = policy_in_force(model)
    context = {
        "model": model,
        "tuning": tuning,
        "form": form or TuningForm.of(tuning),
        "tuned_by": sentences.ending(DEMO) if tuned_by(model) == DEMO else "",
        "refused": refused,
        "in_force": in_force,
        "trial": _trial(latest) if latest else None,
        "versions": versions,
        "compared": _compared(request, versions, in_force),
        "events": [
            (event, sentences.ending(event.why))
            for event in RoutingEvent.objects.filter(model=model.name)[:EVENTS_SHOWN]
        ],
        "stragglers": Straggler.objects.filter(
            cleared_at=None, deployment__version__model=model
        ).select_related("worker"),
    }
    return render(request, "routing/route.html", context, status=status)


def _trial(trial: Trial) -> dict[str, Any]:
    last = trial.looks[-1] if trial.looks else None
    return {
        "row": trial,
        "why": sentences.why(trial.evidence),
        "changes": sentences.differences(trial.baseline, trial.policy),
        "ending": sentences.ending(trial.ended_because),
        "proof": _proof(trial),
        "look": last,
        "standing": sentences.standing(last["reading"], last["canary"]["calls"]) if last else [],
        "chart": _chart(trial.looks),
        "arms": [
            (name, arm, 100 * arm["misses"] / arm["calls"] if arm["calls"] else None)
            for name, arm in (
                (_("In force"), last["control"]),
                (_("Under trial"), last["canary"]),
            )
        ]
        if last
        else [],
    }


def _proof(trial: Trial) -> dict[str, Any] | None:
    """The replay before the trial; None for trials from before replays existed."""
    if not trial.replay:
        return None
    proof = msgspec.convert(trial.replay, Proof)
    rows: list[tuple[object, bool, str, Figure | Share]] = [
        (sentences.FIGURES[figure.name], False, figure.name, figure) for figure in proof.figures
    ]
    rows += [(figure.pool, figure.emulated, "share", figure) for figure in proof.shares]
    return {
        "trust": sentences.TRUST[proof.trust],
        "is_trusted": proof.trust is Trust.TRUSTED,
        "is_emulated": any(share.emulated for share in proof.shares),
        "sentences": sentences.verdict(proof, Aim(trial.aim)),
        "rows": [
            (label, emulated, *(sentences.figure(name, value) for value in _three(figure)))
            for label, emulated, name, figure in rows
        ],
    }


def _three(figure: Figure | Share) -> tuple[float, float, float]:
    return figure.recorded, figure.replayed, figure.proposed


def _chart(looks: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    """Columns over the canary's calls: shares of misses in %, ratio of latencies and its bounds."""

    def misses(arm: dict[str, Any]) -> float | None:
        return 100 * arm["misses"] / arm["calls"] if arm["calls"] else None

    known = [look["reading"]["ratio_high"] is not None for look in looks]
    readings = [look["reading"] for look in looks]
    return {
        "at": [look["canary"]["calls"] for look in looks],
        "control_misses": [misses(look["control"]) for look in looks],
        "canary_misses": [misses(look["canary"]) for look in looks],
        "ratio": [r["ratio"] if k else None for r, k in zip(readings, known, strict=True)],
        "low": [r["ratio_low"] if k else None for r, k in zip(readings, known, strict=True)],
        "high": [r["ratio_high"] if k else None for r, k in zip(readings, known, strict=True)],
    }


def _compared(
    request: HttpRequest, versions: list[Policy], in_force: Policy | None
) -> dict[str, Any] | None:
    """Two versions side by side: those in the query, else the two newest."""
    by_number = {str(row.version): row for row in versions}
    newest = versions[0] if versions else None
    before = by_number.get(request.GET.get("from", ""), in_force)
    after = by_number.get(request.GET.get("to", ""), newest)
    if before is None or after is None:
        return None
    return {"before": before, "after": after, "rows": sentences.changes(before, after)}


def _model(author: str, slug: str) -> AIModel:
    return get_object_or_404(AIModel, name=f"{author}/{slug}")


def _user(request: HttpRequest) -> User:
    return request.user  # type: ignore[return-value]  # `staff_required` has seen to it

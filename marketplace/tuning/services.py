"""Services that make, approve, steer, promote, roll back and revert proposals and trials."""

import logging
import math
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import msgspec
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel
from marketplace.routing.models import Policy, PolicyKind, PolicyState
from marketplace.routing.selectors import policies_in_force
from marketplace.routing.services import (
    PolicyWeights,
    policy_make,
    policy_publish,
    snapshot_publish,
)
from marketplace.routing.trials import aim
from marketplace.routing.trials.events import event_record
from marketplace.routing.trials.evidence import ByHand, Evidence
from marketplace.routing.trials.models import Aim, EventKind, Mode, RouteTuning, Trial
from marketplace.tuning.drift.detection import STEP_MAX
from marketplace.tuning.proofs import proving
from marketplace.tuning.proofs.candidates import HEDGE_SHARE_START
from marketplace.tuning.proofs.proof import Proof, Says, may_begin
from marketplace.tuning.telemetry import Window, arms_of, calls_a_day
from marketplace.tuning.trials import trial as rules

TUNED = ("wait_weight", "hedge_share", "weights")
HEED_WEIGHTS = frozenset(
    {PolicyKind.LATE_BINDING, PolicyKind.WEIGHTED, PolicyKind.WEIGHTED_LEAST_OUTSTANDING}
)
"""Kinds of policies that use weights by deployment; only late binding uses the other figures."""
KEPT = ("wait_weight", "usd_weight_s", "hedge_share", "shared", "weights")
SETTLE_S = 2.0
"""Calls this soon after the start are ignored, until every router has the snapshot."""
LOOKS_MAX = 240
"""Looks kept for the chart at most; beyond it every other one is dropped."""
ROUNDING = 1e-4
"""Figures are rounded to this."""
PROPOSAL_TTL = timedelta(days=1)
"""A proposal undecided for this long is dismissed, as its evidence is old."""

log = logging.getLogger(__name__)


def tuning_of(model: AIModel) -> RouteTuning:
    """A route's settings, by default the defaults."""
    return RouteTuning.objects.get_or_create(model=model)[0]


@transaction.atomic
def tuning_set(*, tuning: RouteTuning, by: User, **values: Any) -> RouteTuning:
    """Change a route's settings. Raises ``ValidationError``."""
    tuning = RouteTuning.objects.select_for_update().get(pk=tuning.pk)
    changed = []
    for name, value in values.items():
        before = getattr(tuning, name)
        if before != value:
            setattr(tuning, name, value)
            changed.append(f"{name}: {before} → {value}")
    tuning.full_clean()
    tuning.save()
    if changed:
        why = ", ".join(changed)
        event_record(kind=EventKind.TUNED, model=tuning.model, by=by, why=why)
    return tuning


def policy_in_force(model: AIModel) -> Policy | None:
    """The policy in force; None if the router's defaults place the calls."""
    return policies_in_force().filter(model=model).first()


def policy_propose(
    *,
    model: AIModel,
    changes: dict[str, Any],
    aim: Aim,
    evidence: Evidence,
    by: User | None = None,
) -> Trial:
    """Propose a change of the policy in force, replay it, and begin its trial if that is allowed.

    ``changes`` may only have fields of ``TUNED``, each changed by one step at most. Raises
    ``ValidationError`` otherwise, and while another proposal is open. Waits for the replay.
    """
    baseline = _baseline(model)
    _check_step(baseline, changes)
    values = {name: changes.get(name, getattr(baseline, name)) for name in KEPT}
    draft = Policy(model=model, version=0, pk=0, kind=baseline.kind, **values)
    trial = _replayed(draft, baseline, aim, evidence, by)
    return _go_on(trial)


def canary_start(
    *,
    model: AIModel,
    kind: PolicyKind,
    share: float,
    aim: Aim,
    by: User,
    weights: PolicyWeights,
    note: str = "",
) -> Trial:
    """Replay a person's policy, of any kind, and try it on a share of the calls.

    It is judged as the loop's are, but begins whatever the replay says, as the person asked for
    it. Raises ``ValidationError`` while another proposal is open.
    """
    draft = Policy(model=model, version=0, pk=0, kind=kind, note=note, **weights)
    trial = _replayed(draft, _baseline(model), aim, ByHand(), by)
    with transaction.atomic():
        return _start(_locked(trial, PolicyState.PROPOSED), tuning_of(model), share)


OPEN = (PolicyState.PROPOSED, PolicyState.CANARY)


@transaction.atomic
def _baseline(model: AIModel) -> Policy:
    """The policy to compare a proposal with. Raises ``ValidationError`` while one is open."""
    AIModel.objects.select_for_update().get(pk=model.pk)
    if Trial.objects.filter(policy__model=model, policy__state__in=OPEN).exists():
        raise ValidationError(_("Another proposal for this route is open: conclude it first."))
    return policy_in_force(model) or policy_publish(
        model=model, kind=PolicyKind.LATE_BINDING, note="The router's defaults"
    )


def _replayed(
    draft: Policy, baseline: Policy, aim: Aim, evidence: Evidence, by: User | None
) -> Trial:
    """Store the draft as a proposal with its replay.

    The route is not locked during the replay. Raises ``ValidationError`` if another version is in
    force afterwards, as the replay compared with the old one.
    """
    model = draft.model
    proof = proving.proof_of(tuning_of(model), baseline, draft)
    with transaction.atomic():
        if _baseline(model) != baseline:
            raise ValidationError(
                _("Another version was published in the meantime: propose it again.")
            )
        policy = policy_make(
            model=model,
            kind=PolicyKind(draft.kind),
            state=PolicyState.PROPOSED,
            note=draft.note,
            created_by=by,
            **{name: getattr(draft, name) for name in KEPT},
        )
        policy.full_clean()
        trial = Trial.objects.create(
            policy=policy,
            baseline=baseline,
            aim=aim,
            evidence=msgspec.to_builtins(evidence),
            replay=msgspec.to_builtins(proof),
            asked_by=by,
        )
        why = draft.note or trial.evidence["reason"]
        event_record(kind=EventKind.PROPOSED, model=model, policy=policy, by=by, why=why)
    return trial


@transaction.atomic
def _go_on(trial: Trial) -> Trial:
    """On an automatic route: begin its trial, or dismiss it if its replay is worse.

    Otherwise it waits for a person, or for more recorded calls to replay.
    """
    trial = _locked(trial, PolicyState.PROPOSED)
    tuning = tuning_of(trial.policy.model)
    if tuning.mode != Mode.AUTOMATIC or not trial.replay:
        return trial
    proof = msgspec.convert(trial.replay, Proof)
    if may_begin(proof, aim.Aim(trial.aim)):
        return _start(trial, tuning)
    if proof.says is Says.WORSE and trial.asked_by is None:
        return _end(trial, PolicyState.DISMISSED, EventKind.DISMISSED, "replay_worse")
    return trial


def _check_step(baseline: Policy, changes: dict[str, Any]) -> None:
    """Refuse changes by more than ``STEP_MAX``."""
    if not changes or not changes.keys() <= set(TUNED):
        raise ValidationError(_("Only weights, wait_weight and hedge_share can be proposed."))
    heeded = HEED_WEIGHTS if changes.keys() == {"weights"} else {PolicyKind.LATE_BINDING}
    if baseline.kind not in heeded:
        raise ValidationError(
            _("A route with the policy “%(kind)s” ignores this: nothing would change."),
            params={"kind": baseline.get_kind_display()},
        )
    pairs = [
        (getattr(baseline, name), value) for name, value in changes.items() if name != "weights"
    ]
    weights = changes.get("weights", baseline.weights)
    pairs += [
        (baseline.weights.get(key, 1.0), weights.get(key, 1.0))
        for key in baseline.weights.keys() | weights.keys()
    ]
    for before, after in pairs:
        most = before * STEP_MAX or HEDGE_SHARE_START
        if abs(after - before) > most + ROUNDING:
            raise ValidationError(
                _("%(before)s → %(after)s is more than one step of %(share)d %%."),
                params={"before": before, "after": after, "share": STEP_MAX * 100},
            )


@transaction.atomic
def trial_approve(*, trial: Trial, by: User) -> Trial:
    """Begin the canary. Raises ``ValidationError`` if it is no longer a proposal."""
    trial = _locked(trial, PolicyState.PROPOSED)
    event_record(kind=EventKind.APPROVED, model=trial.policy.model, policy=trial.policy, by=by)
    return _start(trial, tuning_of(trial.policy.model))


def proposal_review(*, trial: Trial) -> Trial:
    """Replay a waiting proposal again if its route is automatic; dismiss it if it is old.

    Raises ``ValidationError`` if it is no longer a proposal.
    """
    if trial.created_at < timezone.now() - PROPOSAL_TTL:
        return _set_aside(trial)
    tuning = tuning_of(trial.policy.model)
    if tuning.mode != Mode.AUTOMATIC:
        return trial
    trial.replay = msgspec.to_builtins(proving.proof_of(tuning, trial.baseline, trial.policy))
    trial.save(update_fields=["replay"])
    return _go_on(trial)


@transaction.atomic
def _set_aside(trial: Trial) -> Trial:
    trial = _locked(trial, PolicyState.PROPOSED)
    return _end(trial, PolicyState.DISMISSED, EventKind.DISMISSED, "stale")


@transaction.atomic
def trial_dismiss(*, trial: Trial, by: User, why: str = "") -> Trial:
    """Dismiss a proposal. Raises ``ValidationError`` if it is no longer one."""
    trial = _locked(trial, PolicyState.PROPOSED)
    return _end(trial, PolicyState.DISMISSED, EventKind.DISMISSED, "person", by=by, why=why)


@transaction.atomic
def trial_roll_back(*, trial: Trial, by: User, why: str = "") -> Trial:
    """Stop a canary by hand. Raises ``ValidationError`` if it does not run."""
    trial = _locked(trial, PolicyState.CANARY)
    return _end(trial, PolicyState.ROLLED_BACK, EventKind.ROLLED_BACK, "person", by=by, why=why)


@transaction.atomic
def policy_revert(*, model: AIModel, to_version: int, by: User) -> Policy:
    """Publish an old version again. Raises ``ValidationError`` if it does not exist."""
    old = model.policies.filter(version=to_version).first()
    if old is None:
        raise ValidationError(
            _("There is no version %(version)d of this route's policy."),
            params={"version": to_version},
        )
    return policy_publish(
        model=model,
        kind=PolicyKind(old.kind),
        note=f"as version {to_version}",
        created_by=by,
        event=EventKind.REVERTED,
        wait_weight=old.wait_weight,
        usd_weight_s=old.usd_weight_s,
        hedge_share=old.hedge_share,
        shared=old.shared,
        weights=old.weights,
    )


def canaries_steer() -> list[rules.Decision]:
    """Steer each running trial by its evidence."""
    running = Trial.objects.filter(policy__state=PolicyState.CANARY).values_list("pk", flat=True)
    decisions: list[rules.Decision] = []
    for pk in running:
        try:
            decision = canary_steer(pk)
        except Exception:  # The other trials have to be steered all the same.
            log.exception("no look at trial %d", pk)
            continue
        if decision is not None:
            decisions.append(decision)
    return decisions


@transaction.atomic
def canary_steer(trial_id: int) -> rules.Decision | None:
    """Read a trial's evidence and act on it. None if another process does, or it has ended."""
    # A lock on the model's row means that somebody publishes: skip, the next look is soon.
    models = AIModel.objects.select_for_update(skip_locked=True)
    if not models.filter(policies__trial=trial_id).exists():
        return None
    trial = (
        Trial.objects.select_related("policy__model", "baseline")
        .filter(pk=trial_id, policy__state=PolicyState.CANARY)
        .first()
    )
    if trial is None or trial.started_at is None:
        return None
    tuning = tuning_of(trial.policy.model)
    now = timezone.now()
    window = Window(trial.started_at + timedelta(seconds=SETTLE_S), now)
    control, canary = arms_of([trial.baseline_id, trial.policy_id], window, tuning.slo_ms)
    elapsed_s = (now - trial.started_at).total_seconds()
    evidence = rules.Evidence(control, canary, elapsed_s)
    decision = rules.decide(rules_of(trial, tuning), evidence)
    trial.looks = _with_look(trial.looks, int(now.timestamp()), evidence, decision.reading)
    trial.save(update_fields=["looks"])
    if decision.action is rules.Action.PROMOTE:
        _end(trial, PolicyState.PUBLISHED, EventKind.PROMOTED, decision.reason.value)
    elif decision.action is rules.Action.ROLL_BACK:
        _end(trial, PolicyState.ROLLED_BACK, EventKind.ROLLED_BACK, decision.reason.value)
    return decision


def rules_of(trial: Trial, tuning: RouteTuning) -> rules.Rules:
    """The rules to judge a trial by."""
    return rules.Rules(
        share=trial.policy.canary_share,
        samples_min=tuning.samples_min,
        error_budget=tuning.error_budget,
        budget_calls=trial.budget_calls,
        aim=aim.Aim(trial.aim),
    )


def _start(trial: Trial, tuning: RouteTuning, share: float | None = None) -> Trial:
    """Begin the trial on ``share`` of the calls, by default the route's share.

    Raises ``ValidationError`` while another version of the route is under trial.
    """
    policy = trial.policy
    if Policy.objects.filter(model=policy.model, state=PolicyState.CANARY).exists():
        raise ValidationError(
            _("Another version of this route is under trial: wait until it ends.")
        )
    trial.started_at = timezone.now()
    # On a route with few calls the budget is small: the first excess miss ends the trial.
    trial.budget_calls = max(calls_a_day(policy.model), 1) * tuning.error_budget
    trial.save(update_fields=["started_at", "budget_calls"])
    policy.state, policy.canary_share = PolicyState.CANARY, share or tuning.canary_share
    policy.save(update_fields=["state", "canary_share"])
    why = f"{policy.canary_share * 100:g} %"
    event_record(kind=EventKind.STARTED, model=policy.model, policy=policy, why=why)
    snapshot_publish()
    return trial


def _end(
    trial: Trial,
    state: PolicyState,
    kind: EventKind,
    because: str,
    *,
    by: User | None = None,
    why: str = "",
) -> Trial:
    trial.ended_at, trial.ended_because = timezone.now(), because
    trial.save(update_fields=["ended_at", "ended_because"])
    trial.policy.state = state
    trial.policy.save(update_fields=["state"])
    event_record(
        kind=kind, model=trial.policy.model, policy=trial.policy, by=by, why=why or because
    )
    snapshot_publish()
    return trial


def _locked(trial: Trial, state: PolicyState) -> Trial:
    """Lock and reload the trial. Raises ``ValidationError`` unless its policy is in ``state``."""
    AIModel.objects.select_for_update().get(pk=trial.policy.model_id)
    fresh = Trial.objects.select_related("policy__model").get(pk=trial.pk)
    if fresh.policy.state != state:
        raise ValidationError(
            _("This needs a version in the state “%(needed)s”; it is “%(state)s”."),
            params={
                "needed": PolicyState(state).label,
                "state": PolicyState(fresh.policy.state).label,
            },
        )
    return fresh


def _with_look(
    looks: list[dict[str, Any]], at: int, evidence: rules.Evidence, reading: rules.Reading
) -> list[dict[str, Any]]:
    look = {
        "at": at,
        "control": asdict(evidence.control),
        "canary": asdict(evidence.canary),
        "reading": {
            name: value if math.isfinite(value) else None for name, value in asdict(reading).items()
        },
    }
    kept = [*looks, look]
    return kept if len(kept) <= LOOKS_MAX else [*kept[:-1:2], look]

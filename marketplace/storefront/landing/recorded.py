"""A replay of this installation's own calls, where there are enough that it can be trusted."""

from datetime import datetime, timedelta

from marketplace.planning.whatif.answer import calibration_of
from marketplace.planning.whatif.question import PolicyChange, Question
from marketplace.planning.whatif.replay.engine_runs import simulation_of
from marketplace.planning.whatif.replay.runs import Course, Run, paired, recorded, side_of
from marketplace.planning.whatif.replay.scene import CALLS_SURE, Scene, Unanswerable, scene_read
from marketplace.routing.models import PolicyKind
from marketplace.storefront.landing.replay import Line, Replay, Source, line_of
from marketplace.usage.models import ModelFigures

SPANS = (timedelta(hours=1), timedelta(days=1))
MODELS_TRIED = 3
SEED = 1
SECONDS_MAX = 30.0


def recorded_replay(now: datetime) -> Replay | None:
    """The last hour, else the last day, of a model that is called much; None without one.

    Only calls whose replay as now comes near to what really happened.
    """
    busiest = ModelFigures.objects.filter(calls__gte=CALLS_SURE).order_by("-calls")
    for name in busiest.values_list("model", flat=True)[:MODELS_TRIED]:
        for span in SPANS:
            if found := _replayed(name, now - span, now):
                return found
    return None


def _replayed(model: str, since: datetime, until: datetime) -> Replay | None:
    change = PolicyChange(kind=PolicyKind.ROUND_ROBIN)
    try:
        scene = scene_read(Question(model=model, since=since, until=until, policy=change))
    except Unanswerable:
        return None
    calls, arrivals = scene.recording.calls, scene.recording.arrivals
    if len(calls) < CALLS_SURE or scene.policy_now.kind == scene.policy_then.kind:
        return None
    ours, round_robin = paired(
        calls,
        Course(arrivals, scene.fleet_now, scene.policy_now),
        Course(arrivals, scene.fleet_now, scene.policy_then),
        simulate=simulation_of(scene.fleet_now),
        seeds=(SEED,),
        seconds_max=SECONDS_MAX,
    )
    really = recorded(calls, arrivals)
    if not round_robin or not _near(scene, really, ours[0]):
        return None
    return Replay(
        source=Source.RECORDED,
        calls=len(calls),
        machines=sum(len(part.workers) for part in scene.fleet_now.parts),
        emulated=scene.fleet_now.is_emulated,
        round_robin=_line(round_robin[0]),
        ours=_line(ours[0]),
        model=model,
        since=since,
        until=until,
    )


def _near(scene: Scene, really: Run, ours: Run) -> bool:
    return calibration_of(side_of(really, scene.slo_ms), side_of(ours, scene.slo_ms)).trusted


def _line(run: Run) -> Line:
    return line_of(run.at_s.tolist(), run.latency_s.tolist())

"""A proposal is replayed over the recorded past before it is tried: what that says, and does."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from marketplace.accounts.models import User
from marketplace.catalog.models import Pool
from marketplace.routing.models import Policy, PolicyKind, PolicyState
from marketplace.routing.services import policy_publish
from marketplace.routing.trials.models import Aim, Mode, RouteTuning, Trial
from marketplace.tuning import loop, services, tasks
from marketplace.tuning.proofs import proving
from marketplace.tuning.proofs.proof import Lack, Proof, Says, Trust
from marketplace.tuning.services import canary_start, tuning_of, tuning_set
from marketplace.tuning.telemetry import Window, placed_since
from router.domain.catalog import Policy as PolicyValue
from tests.integration.marketplace.recorded import lived
from tests.integration.marketplace.shop import Shop, signed_in
from tests.integration.marketplace.tuning.looping import calls, no_replay, proposed

pytestmark = pytest.mark.usefixtures("kept_shop")


def automatic(shop: Shop, admin: User) -> None:
    tuning_set(tuning=tuning_of(shop.model), by=admin, mode=Mode.AUTOMATIC)


def proof(trust: Trust = Trust.TRUSTED, says: Says = Says.BETTER) -> Proof:
    return Proof(trust, says, 500, 500, 200, "2026-11-30T12:00:00+00:00", seeds=3)


def replays(monkeypatch: pytest.MonkeyPatch, *answers: Proof) -> list[tuple[Policy, Policy]]:
    """Each replay answers the next, and the last of them from then on."""
    asked: list[tuple[Policy, Policy]] = []

    def proof_of(tuning: RouteTuning, baseline: Policy, policy: Policy) -> Proof:
        asked.append((baseline, policy))
        return answers[min(len(asked), len(answers)) - 1]

    monkeypatch.setattr(proving, "proof_of", proof_of)
    return asked


def by_hand(shop: Shop, admin: User, kind: PolicyKind, **weights: Any) -> Trial:
    values = {"wait_weight": 5.0, "usd_weight_s": 0.0, "hedge_share": 0.05, "shared": False}
    return canary_start(
        model=shop.model,
        kind=kind,
        share=0.1,
        aim=Aim.LATENCY,
        by=admin,
        weights={"weights": {}, **values, **weights},  # type: ignore[typeddict-item]
    )


# --- what a replay says --------------------------------------------------------------------------


def test_a_past_that_is_replayed_as_it_was_shows_what_a_bad_policy_does(
    shop: Shop, admin: User
) -> None:
    lived(shop, count=800, load=0.7)
    Pool.objects.filter(name="slow").update(emulated=True)
    trial = by_hand(shop, admin, PolicyKind.ROUND_ROBIN)
    found = trial.replay
    assert (found["trust"], found["says"], found["calls"]) == ("trusted", "worse", 800)
    mean, p99, good = found["figures"]
    assert [item["name"] for item in (mean, p99, good)] == ["mean_ms", "p99_ms", "good"]
    assert mean["proposed"] > 1.2 * mean["replayed"]
    assert mean["replayed"] == pytest.approx(mean["recorded"], rel=0.15)
    shares = {share["pool"]: share for share in found["shares"]}
    assert shares["slow"]["proposed"] == pytest.approx(1 / 3, abs=0.02)
    assert shares["slow"]["replayed"] == pytest.approx(shares["slow"]["recorded"], abs=0.1)
    assert {hold["name"]: hold["apart"] <= hold["most"] for hold in found["held"]} == dict.fromkeys(
        ("mean", "p99", "good", "shares"), True
    )
    # A person asked for exactly this: it runs anyway, and shows the verdict.
    assert trial.policy.state == PolicyState.CANARY
    client = signed_in(admin)
    body = client.get("/routes/author/slug").content.decode()
    text = " ".join(re.sub(r"<[^>]*>", " ", body).split())
    assert "Replay of recorded calls Reliable" in text
    assert "the same calls would have been served worse" in text
    assert re.search(r"slow emulated [\d.]+ % [\d.]+ % 33", text)
    assert "This replay does not allow a trial to start automatically" in text


def test_too_little_recorded_is_known_as_that_and_nothing_begins_by_itself(
    shop: Shop, admin: User
) -> None:
    automatic(shop, admin)
    calls(shop.deployment, [100.0] * 12)
    trial = proposed(shop)
    assert trial.policy.state == PolicyState.PROPOSED
    assert (trial.replay["trust"], trial.replay["lack"]) == (Trust.UNKNOWN, Lack.FEW)
    client = signed_in(admin)
    (row,) = client.get("/api/v1/proposals").json()["results"]
    assert row["replay"]["calls"] == 12
    assert row["replay_says"][0] == "Unknown"
    assert (
        "12 since the version in force places them alone. 200 are needed."
        in (row["replay_says"][1])
    )
    assert "Too few calls to replay" in client.get("/routes/author/slug").content.decode()


def test_only_calls_that_the_version_in_force_has_placed_are_held_against_it(shop: Shop) -> None:
    made = policy_publish(model=shop.model, kind=PolicyKind.LATE_BINDING)
    now = timezone.now()
    window = Window(now - timedelta(hours=1), now)
    calls(shop.deployment, [10.0], policy=0, ago_s=60)
    assert placed_since(shop.model, made.pk, window) == window.since
    calls(shop.deployment, [10.0], policy=made.pk + 1, ago_s=40)
    calls(shop.deployment, [10.0], policy=made.pk, ago_s=20)
    since = placed_since(shop.model, made.pk, window)
    assert timedelta(seconds=35) < timezone.now() - since < timedelta(seconds=50)


def test_a_replay_has_the_routers_errors_that_weights_are_there_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed: list[Any] = []

    def prove(model: Any, now: Any, then: Any, **_: Any) -> Proof:
        replayed.extend((now.weights, then.weights))
        return proof()

    monkeypatch.setattr(proving, "prove", prove)
    monkeypatch.setattr(
        proving, "biases", lambda *_: [loop_bias(shop.deployment.pk, 2.0), loop_bias(99, 0.5)]
    )
    key = str(shop.deployment.pk)
    now = Policy(model=shop.model, version=0, pk=0, weights={key: 0.6})
    then = Policy(model=shop.model, version=0, pk=0, weights={key: 0.5})
    proving.proof_of(tuning_of(shop.model), now, then)
    # Half as fast as the router expects: a weight of 0.5 corrects that.
    assert replayed == [
        {shop.deployment.pk: 1.2, 99: 0.5},
        {shop.deployment.pk: 1.0, 99: 0.5},
    ]


def loop_bias(deployment_id: int, ratio: float) -> Any:
    from marketplace.routing.trials.evidence import Bias

    return Bias(deployment_id, 400, ratio, ratio * 0.9, ratio * 1.1)


# --- what it does --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trust", "says", "state"),
    [
        (Trust.TRUSTED, Says.BETTER, PolicyState.CANARY),
        (Trust.TRUSTED, Says.WORSE, PolicyState.DISMISSED),
        (Trust.UNTRUSTED, Says.BETTER, PolicyState.PROPOSED),
        (Trust.UNTRUSTED, Says.WORSE, PolicyState.DISMISSED),
        (Trust.UNKNOWN, Says.UNCLEAR, PolicyState.PROPOSED),
    ],
)
def test_on_an_automatic_route_the_replay_decides_what_begins(
    shop: Shop,
    admin: User,
    monkeypatch: pytest.MonkeyPatch,
    trust: Trust,
    says: Says,
    state: PolicyState,
) -> None:
    automatic(shop, admin)
    asked = replays(monkeypatch, proof(trust, says))
    trial = proposed(shop)
    assert trial.policy.state == state
    assert trial.replay["trust"] == trust
    assert [(old.version, new.wait_weight) for old, new in asked] == [(1, 6.0)]
    if state == PolicyState.DISMISSED:
        assert trial.ended_because == "replay_worse"
        assert loop._tried_lately(shop.model, "wait_weight")


def test_what_a_person_proposes_is_not_set_aside_but_waits_for_them(
    shop: Shop, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    automatic(shop, admin)
    replays(monkeypatch, proof(says=Says.WORSE))
    trial = proposed(shop, by=admin)
    assert trial.policy.state == PolicyState.PROPOSED
    assert services.trial_approve(trial=trial, by=admin).policy.state == PolicyState.CANARY


def test_one_that_waits_is_replayed_again_until_the_past_will_do(
    shop: Shop, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_replay(monkeypatch)
    automatic(shop, admin)
    unknown, good = proof(Trust.UNKNOWN, Says.UNCLEAR), proof()
    asked = replays(monkeypatch, unknown, unknown, good)
    trial = proposed(shop)
    states = []
    for _ in range(2):
        tasks.propose()
        trial.refresh_from_db()
        states.append((Policy.objects.get(pk=trial.policy_id).state, trial.replay["trust"]))
    assert states == [(PolicyState.PROPOSED, "unknown"), (PolicyState.CANARY, "trusted")]
    assert len(asked) == 3


def test_a_version_that_is_published_during_the_replay_is_not_replaced_unseen(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publishes(tuning: RouteTuning, baseline: Policy, policy: Policy) -> Proof:
        policy_publish(model=tuning.model, kind=PolicyKind.C3)
        return proof()

    monkeypatch.setattr(proving, "proof_of", publishes)
    with pytest.raises(ValidationError, match="published in the meantime"):
        proposed(shop)
    assert not Trial.objects.exists()


def test_replays_of_candidates_that_take_too_long_propose_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(shop, count=600, load=0.3)
    monkeypatch.setattr(proving, "CANDIDATES_SECONDS_MAX", -1.0)
    replay = proving.replay_on(shop.model, 1_000.0)
    with pytest.raises(TimeoutError):
        replay(proving.arrivals_lately(shop.model), [PolicyValue(0, 0, "")], 1)
    assert loop.propose_by_replay(shop.model, tuning_of(shop.model)) is None


def test_a_replay_that_never_ends_is_unknown(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    lived(shop, count=220, load=0.3)
    monkeypatch.setattr(proving, "SECONDS_MAX", -1.0)
    trial = proposed(shop)
    assert (trial.replay["trust"], trial.replay["lack"]) == ("unknown", "slow")

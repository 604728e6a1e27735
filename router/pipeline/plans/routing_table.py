"""A snapshot with indexes: built once per publication, read by every call."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from msgspec import Struct, field, structs

from router.contracts.snapshot import Snapshot
from router.domain.catalog import (
    ApiKey,
    Budget,
    Canary,
    Deployment,
    Endpoint,
    Guard,
    Limit,
    LimitRule,
    Model,
    Policy,
    Pool,
    Preset,
    RateLimits,
    Worker,
)
from router.domain.keys import EndedSession
from router.domain.money import Purse
from router.domain.protocols import speaks
from router.domain.request import Kind
from router.pipeline.plans.eligibility import Eligibility

T = TypeVar("T")
K = TypeVar("K")
NO_STARTS: Mapping[str, float] = {}
NO_MASKS: frozenset[str] = frozenset()


class Route(Struct, frozen=True):
    """A public model name, where the model can run, and how a place is chosen.

    Planning fills ``eligible``: the endpoints for a call of a kind without wishes. ``canary`` is a
    policy on trial, if any. ``deployments`` are those of the endpoints, and those without workers.
    ``starts`` are pools where a worker is started for calls that wait, with the seconds it takes.
    """

    model: Model
    endpoints: tuple[Endpoint, ...]
    policy: Policy
    canary: Canary | None = None
    deployments: tuple[Deployment, ...] = ()
    starts: Mapping[str, float] = NO_STARTS
    eligible: dict[Kind, Eligibility] = field(default_factory=dict[Kind, Eligibility])

    def is_for(self, organisation_id: int) -> bool:
        """Whether an organisation may know of the model: it is the market's, or its own."""
        own = self.model.own
        return own is None or own.organisation_id == organisation_id

    @property
    def left_out(self) -> str:
        """Why no worker could be started; "" if one could, or if there are no workers."""
        reasons = [endpoint.worker.left_out for endpoint in self.endpoints]
        return reasons[0] if reasons and all(reasons) else ""


class Grant(Struct, frozen=True, gc=False):
    """Who calls, who pays, and until when (Unix seconds, 0 is forever).

    An empty ``models`` allows every model. ``limits`` are those of the key and the organisation,
    ``rules`` the key's limits of some calls. ``masks`` are the kinds of personal data that are
    masked in their calls, ``guards`` judge them. ``batch`` says that a batch calls for them,
    ``judges`` which call is judged by this one.
    """

    organisation_id: int
    purse: Purse
    key_id: int = 0
    user_id: int = 0
    models: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    rules: tuple[LimitRule, ...] = ()
    masks: frozenset[str] = NO_MASKS
    guards: tuple[Guard, ...] = ()
    expires_at_s: int = 0
    batch: bool = False
    judges: str = ""

    def may_use(self, model: str) -> bool:
        """Whether this caller's key allows a model."""
        return not self.models or model in self.models

    def judging(self, what: str) -> "Grant":
        """For a guard's own call: by any model, and no second call of the caller's limits."""
        return structs.replace(
            self, models=(), limits=(), rules=(), masks=NO_MASKS, guards=(), judges=what
        )

    def sees(self, route: Route) -> bool:
        """Whether this caller may call the model and see it in lists.

        A key that allows a model of the market allows what stands for it.
        """
        if not route.is_for(self.organisation_id):
            return False
        own = route.model.own
        return self.may_use(route.model.name) or (own is not None and self.may_use(own.stands_for))


NOBODY = Grant(0, Purse(0))
"""Who asks without a key, and sees the market."""


class RoutingTable(Struct, frozen=True):
    """Everything that authentication and planning look up.

    ``routes`` has organisations' own models, too: those who ask for a client use :meth:`route_for`.
    ``stand_ins`` are those that stand for a model of the market, by organisation and that model.
    ``by_slug`` has the names of the market's models that are called so after their author.
    ``keys`` are by digest, ``keys_by_id`` the same ones by id, ``limits`` and ``budgets`` by
    organisation, ``ended_sessions`` by user, ``presets`` by organisation and name. ``unkept`` are
    organisations that keep no responses, ``masks`` what is masked in an organisation's calls,
    ``guards`` what judges them.
    Authentication fills ``seen`` with the grants of keys
    already used with this table, so that they need no digest. It goes when the table goes.
    """

    version: int
    routes: dict[str, Route]
    keys: dict[str, ApiKey]
    endpoints: dict[str, Endpoint]
    keys_by_id: dict[int, ApiKey] = field(default_factory=dict[int, ApiKey])
    limits: dict[int, RateLimits] = field(default_factory=dict[int, RateLimits])
    budgets: dict[int, list[Budget]] = field(default_factory=dict[int, list[Budget]])
    ended_sessions: dict[int, list[EndedSession]] = field(
        default_factory=dict[int, list[EndedSession]]
    )
    unkept: frozenset[int] = frozenset()
    masks: dict[int, frozenset[str]] = field(default_factory=dict[int, frozenset[str]])
    guards: dict[int, Guard] = field(default_factory=dict[int, Guard])
    presets: dict[tuple[int, str], Preset] = field(default_factory=dict[tuple[int, str], Preset])
    by_slug: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    stand_ins: dict[int, dict[str, Model]] = field(default_factory=dict[int, dict[str, Model]])
    seen: dict[str, Grant] = field(default_factory=dict[str, Grant])

    def route_for(self, grant: Grant, model: str) -> Route | None:
        """The route of a model; None if there is none, or if it is another organisation's own."""
        route = self.routes.get(model)
        return route if route is not None and route.is_for(grant.organisation_id) else None

    def purse_of(
        self, organisation_id: int, account_id: int, *, user_id: int = 0, key_id: int = 0
    ) -> Purse:
        """An organisation's account, with the budgets of organisation, member and key."""
        budgets = self.budgets.get(organisation_id, ())
        ids = sorted(b.id for b in budgets if b.user_id in (0, user_id) and b.key_id in (0, key_id))
        return Purse(account_id, tuple(ids))

    def limits_of(self, organisation_id: int) -> tuple[Limit, ...]:
        """The limits of an organisation as a whole."""
        limits = self.limits.get(organisation_id)
        scope = f"org:{organisation_id}"
        return (Limit(scope, limits, "this organisation is"),) if limits else ()

    def masks_of(self, organisation_id: int, others: tuple[str, ...] = ()) -> frozenset[str]:
        """What is masked in an organisation's calls, and what others ask for besides."""
        return self.masks.get(organisation_id, NO_MASKS).union(others)

    def guards_of(self, organisation_id: int, other: Guard | None = None) -> tuple[Guard, ...]:
        """What judges an organisation's calls, and what else is asked for."""
        ours = self.guards.get(organisation_id)
        if ours is None:
            return () if other is None else (other,)
        return (ours,) if other is None else ours.and_also(other)

    def budget_of(self, organisation_id: int, key_id: int) -> int:
        """The id of a key's own budget, 0 if it has none."""
        budgets = self.budgets.get(organisation_id, ())
        return next((budget.id for budget in budgets if key_id and budget.key_id == key_id), 0)


EMPTY_TABLE = RoutingTable(0, {}, {}, {})


def build_table(snapshot: Snapshot) -> RoutingTable:
    """Join deployments with the workers of their pools. Deployments without workers stay listed."""
    routes = _routes(snapshot)
    return RoutingTable(
        version=snapshot.version,
        routes=routes,
        keys={key.digest: key for key in snapshot.keys},
        keys_by_id={key.id: key for key in snapshot.keys},
        endpoints={e.id: e for route in routes.values() for e in route.endpoints},
        limits={organisation.id: organisation.limits for organisation in snapshot.organisations},
        budgets=_grouped(snapshot.budgets, lambda budget: budget.organisation_id),
        ended_sessions=_grouped(snapshot.ended_sessions, lambda ended: ended.user_id),
        unkept=frozenset(row.id for row in snapshot.organisations if not row.keeps_responses),
        masks={row.id: frozenset(row.masks) for row in snapshot.organisations if row.masks},
        guards={row.id: row.guard for row in snapshot.organisations if row.guard is not None},
        presets={(preset.organisation_id, preset.name): preset for preset in snapshot.presets},
        by_slug=_by_slug(snapshot.models),
        stand_ins=_stand_ins(snapshot.models),
    )


def _routes(snapshot: Snapshot) -> dict[str, Route]:
    pools = {pool.name: pool for pool in snapshot.pools}
    policies = {policy.model: policy for policy in snapshot.policies}
    canaries = {canary.policy.model: canary for canary in snapshot.canaries}
    workers = _grouped(snapshot.workers, lambda worker: worker.pool)
    offered = _grouped(snapshot.deployments, lambda deployment: deployment.model)
    routes: dict[str, Route] = {}
    for model in snapshot.models:
        name, deployments = model.name, offered.get(model.name, [])
        starts_s = {row.pool: pools[row.pool].start_s for row in deployments}
        routes[name] = Route(
            model,
            tuple(_endpoints(model, deployments, workers, pools)),
            policies.get(name) or Policy(0, 0, name),
            canaries.get(name),
            tuple(deployments),
            {pool: start_s for pool, start_s in starts_s.items() if start_s},
        )
    return routes


def _endpoints(
    model: Model,
    deployments: Iterable[Deployment],
    workers: Mapping[str, list[Worker]],
    pools: Mapping[str, Pool],
) -> list[Endpoint]:
    return [
        Endpoint(
            f"{deployment.id}@{worker.id}",
            deployment,
            worker,
            pools[deployment.pool],
            model.task,
            model.inputs,
        )
        for deployment in deployments
        for worker in workers.get(deployment.pool, ())
        if speaks(worker.protocol, model.task)
    ]


def _grouped(rows: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The rows by a key of theirs, in order."""
    groups: dict[K, list[T]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _by_slug(models: Iterable[Model]) -> dict[str, list[str]]:
    by_slug: dict[str, list[str]] = {}
    for model in models:
        _, has_author, slug = model.name.partition("/")
        if has_author and model.own is None:
            by_slug.setdefault(slug, []).append(model.name)
    return by_slug


def _stand_ins(models: Iterable[Model]) -> dict[int, dict[str, Model]]:
    stand_ins: dict[int, dict[str, Model]] = {}
    for model in models:
        if model.own is not None and model.own.stands_for:
            stand_ins.setdefault(model.own.organisation_id, {})[model.own.stands_for] = model
    return stand_ins

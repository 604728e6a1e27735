"""The policies in use: one of a model, and a second one while it is on trial."""

from collections.abc import Callable

from router.domain.catalog import Policy
from router.scheduling.fleet.budget import Budget, hedge_budget
from router.scheduling.policies import DEFAULT, POLICIES, Placement

ROUTES_MAX = 2
"""Policies of one model in use at once: the one in force, and one on trial."""


class Route:
    """One policy of a model, its placement instance and its budget of hedges."""

    __slots__ = ("hedges", "placement", "policy")

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self.policy = policy
        self.placement: Placement = POLICIES.get(policy.kind, DEFAULT)(policy, random)
        self.hedges: Budget = hedge_budget(policy.hedge_share)


class Routes:
    """Every route, by model. ``random`` is uniform over [0, 1)."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._by_model: dict[str, list[Route]] = {}

    def of(self, policy: Policy) -> Route:
        """The route of a policy. A new policy of a model displaces its oldest one."""
        routes = self._by_model.setdefault(policy.model, [])
        for route in routes:
            if route.policy is policy:
                return route
            if route.policy == policy:  # The same policy from a newer snapshot.
                route.policy = policy
                return route
        route = Route(policy, self._random)
        routes[:] = [route, *routes[: ROUTES_MAX - 1]]
        return route

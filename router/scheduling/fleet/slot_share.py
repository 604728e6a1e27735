"""How routers that send to the same worker divide its slots.

In proportion to what each could use, by largest remainder (Hamilton's method), and at least one
each while there are enough. Demand need not be exact: it is what a router has running and waiting,
and changes from beat to beat.
"""

from collections.abc import Mapping

DEMAND_MIN = 0.25
"""The least demand of a router, so that it can begin."""


def slot_shares(slots: int, demands: Mapping[str, float]) -> dict[str, int]:
    """Whole slots by router, ``slots`` in sum (0 without routers)."""
    if not demands:
        return {}
    routers = sorted(demands)
    wanted = {router: max(demands[router], DEMAND_MIN) for router in routers}
    floor = 1 if slots >= len(routers) else 0
    spare = slots - floor * len(routers)
    total = sum(wanted.values())
    exact = {router: spare * wanted[router] / total for router in routers}
    shares = {router: floor + int(exact[router]) for router in routers}
    left = slots - sum(shares.values())
    for router in sorted(routers, key=lambda router: (int(exact[router]) - exact[router], router))[
        :left
    ]:
        shares[router] += 1
    return shares

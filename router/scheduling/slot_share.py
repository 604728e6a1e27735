"""How the slots of a worker are divided among routers that all send to it.

In proportion to what each could use, by largest remainder (Hamilton's method), at least one each
while there are enough. Nobody asks for demand to be exact: it is what a router has running and
waiting, and moves from beat to beat.
"""

from collections.abc import Mapping

DEMAND_MIN = 0.25
"""A router without demand keeps a foot in the door."""


def slot_shares(slots: int, demands: Mapping[str, float]) -> dict[str, int]:
    """Whole slots by router, ``slots`` in sum (0 for no router)."""
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
    for router in sorted(routers, key=lambda one: (int(exact[one]) - exact[one], one))[:left]:
        shares[router] += 1
    return shares

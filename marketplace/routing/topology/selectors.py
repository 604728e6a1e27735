"""Reads the catalog's half of the topology, and figures of the last minute."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from django.conf import settings
from django.db import connection
from django.db.models import Prefetch
from django.utils import timezone

from marketplace.billing.models import ReconciliationReport
from marketplace.catalog.models import Deployment, DeploymentStatus, Pool, Worker
from marketplace.routing.models import Policy, PolicyState, SnapshotRow
from marketplace.routing.priors import priors_in_force
from marketplace.routing.selectors import policies_in_force
from marketplace.routing.topology.picture import (
    Catalog,
    CatalogMember,
    CatalogModel,
    CatalogPool,
    CatalogWorker,
    Topology,
    picture,
)
from marketplace.routing.topology.polling import WATCH
from marketplace.routing.trials.evidence import Slowness
from marketplace.routing.trials.models import Straggler
from marketplace.usage.partitions import id_floor

FIGURES_OVER = timedelta(seconds=60)
CALL_MAX = timedelta(minutes=3)
"""Longer calls are not among the figures: what is read are calls that began this long before."""
REPORT_OLD = timedelta(minutes=15)
"""A report is due every five minutes; an older one means that the reconciliation does not run."""

# As in the routers' counts, calls fail if neither the client nor the request is at fault. What
# organisations have of their own is theirs to mend.
FAILED_ALARM, FAILED_ALARM_SHARE = 3, 0.01
"""Failed calls of a minute, and their share, from which on an operator is told to look."""
_FIGURES = """
SELECT count(*),
       count(*) FILTER (WHERE outcome NOT IN ('completed', 'client_gone', 'refused')),
       count(*) FILTER (WHERE outcome = 'refused'),
       count(*) FILTER (WHERE outcome = 'completed' AND total_ms > 0),
       percentile_cont(0.99) WITHIN GROUP (ORDER BY total_ms)
         FILTER (WHERE outcome = 'completed' AND total_ms > 0)
FROM usage_event WHERE request_id >= %s AND settled_at >= %s AND left(model, 1) <> '~'
"""


def topology_now() -> Topology:
    """The topology now. Nine queries."""
    return picture(WATCH.read(), catalog_read())


def catalog_read() -> Catalog:
    """Pools with workers or live models, and the models live on them."""
    deployments = Deployment.objects.filter(
        status=DeploymentStatus.LIVE, version__model__published=True
    ).select_related("version__model")
    pools = Pool.objects.prefetch_related(
        Prefetch(
            "workers", queryset=Worker.objects.order_by("worker_id").prefetch_related("members")
        ),
        Prefetch("deployments", queryset=deployments.order_by("id")),
    ).order_by("emulated", "name")
    if not settings.WAYPOST_EMULATED:
        pools = pools.filter(emulated=False)
    strays = {
        row.worker_id: msgspec.convert(row.evidence, Slowness).ratio
        for row in Straggler.objects.filter(cleared_at=None).order_by("id")
    }
    boxes: list[CatalogPool] = []
    models: dict[str, bool] = {}
    for pool in pools:
        live = [row.version.model for row in pool.deployments.all()]
        models |= {model.name: model.emulated for model in live}
        if live or pool.workers.all():
            boxes.append(_pool(pool, tuple(sorted({model.name for model in live})), strays))
    newest = SnapshotRow.objects.values_list("version", flat=True).first()
    return Catalog(tuple(boxes), _models(models), newest or 0)


def _pool(pool: Pool, models: tuple[str, ...], strays: dict[int, float]) -> CatalogPool:
    workers = tuple(
        CatalogWorker(
            pk=row.pk,
            worker_id=row.worker_id,
            slots=row.slots,
            healthy=row.healthy,
            draining=row.draining,
            drain_reason=row.drain_reason,
            health_error=row.health_error,
            strays=strays.get(row.pk),
            gang_size=row.gang_size,
            members=tuple(
                CatalogMember(member.rank, member.healthy, member.health_error)
                for member in row.members.all()
            ),
        )
        for row in pool.workers.all()
    )
    return CatalogPool(pool.name, pool.hardware, pool.region, pool.emulated, workers, models)


def _models(emulated: dict[str, bool]) -> tuple[CatalogModel, ...]:
    in_force = {row.model.name: row for row in policies_in_force()}
    canaries = {
        row.model.name: row
        for row in Policy.objects.filter(state=PolicyState.CANARY).select_related("model")
    }
    found = []
    for name, is_emulated in sorted(emulated.items()):
        policy, canary = in_force.get(name), canaries.get(name)
        found.append(
            CatalogModel(
                name=name,
                emulated=is_emulated,
                policy=policy.kind if policy else "",
                version=policy.version if policy else 0,
                shared=policy.shared if policy else False,
                canary_version=canary.version if canary else 0,
                canary_share=canary.canary_share if canary else 0.0,
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of the last minute's settled calls; ``p99_ms`` is of ``completed`` ones.

    ``refused`` calls are their callers' mistakes, and not among the ``failed``.
    """

    calls: int
    failed: int
    refused: int
    completed: int
    p99_ms: float | None

    @property
    def rate_hz(self) -> float:
        return self.calls / FIGURES_OVER.total_seconds()

    @property
    def failed_share(self) -> float | None:
        return self.failed / self.calls if self.calls else None

    @property
    def is_failing(self) -> bool:
        """Whether enough calls failed to look into; a single one may."""
        share = self.failed_share or 0.0
        return self.failed >= FAILED_ALARM and share >= FAILED_ALARM_SHARE


@dataclass(frozen=True, slots=True)
class Overview:
    """What an operator checks first besides the routers' states."""

    figures: Figures
    stragglers: int
    canaries: int
    proposals: int
    gaps: int | None
    """None if there is no report yet."""
    report_at: datetime | None
    is_report_old: bool
    unmeasured: int
    """Live deployments without a profile in force: routers have no prior for them."""
    deployments: int


def overview_now() -> Overview:
    """The overview now. Five queries."""
    now = timezone.now()
    report = ReconciliationReport.objects.first()
    live = Deployment.objects.filter(
        status=DeploymentStatus.LIVE, version__model__published=True
    ).order_by()
    if not settings.WAYPOST_EMULATED:
        live = live.filter(pool__emulated=False)
    ids = set(live.values_list("pk", flat=True))
    measured = priors_in_force().keys()
    states = list(
        Policy.objects.filter(state__in=[PolicyState.CANARY, PolicyState.PROPOSED])
        .order_by()
        .values_list("state", flat=True)
    )
    strays = Straggler.objects.filter(cleared_at=None).order_by()
    return Overview(
        figures=_figures(now),
        stragglers=strays.values("worker_id").distinct().count(),
        canaries=states.count(PolicyState.CANARY),
        proposals=states.count(PolicyState.PROPOSED),
        gaps=len(report.gaps) if report else None,
        report_at=report.created_at if report else None,
        is_report_old=report is None or now - report.created_at > REPORT_OLD,
        unmeasured=len(ids - measured),
        deployments=len(ids),
    )


def _figures(now: datetime) -> Figures:
    with connection.cursor() as cursor:
        since = now - FIGURES_OVER
        cursor.execute(_FIGURES, [id_floor(since - CALL_MAX), since])
        return Figures(*cursor.fetchone())

"""The profiles in force and the state of benchmarks, for Prometheus."""

from collections.abc import Iterable

from django.conf import settings
from django.db.models import Count
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from marketplace.benchmarks.models import Benchmark
from marketplace.benchmarks.selectors import profiles_in_force
from marketplace.catalog.models import DeploymentStatus
from marketplace.shared.jobs.models import JobState

LABELS = ("model", "pool", "provider", "deployment", "origin", "emulated")
GAUGES = {
    "service_ms": "Mean service time of one request alone",
    "capacity_hz": "Requests a second of one worker within its SLO; 0 = not known",
    "tokens_per_s": "Most tokens a second of one worker; 0 = not known",
}


class ProfileCollector(Collector):
    """Reads the rows at each scrape."""

    def collect(self) -> Iterable[Metric]:
        """Each gauge of each live deployment's profile in force, how old it is, and benchmarks by
        state.
        """
        profiles = (
            profiles_in_force()
            .filter(deployment__status=DeploymentStatus.LIVE)
            .select_related(
                "deployment__version__model", "deployment__pool", "deployment__provider"
            )
        )
        if not settings.WAYPOST_EMULATED:
            profiles = profiles.filter(emulated=False)
        families = {
            name: GaugeMetricFamily(f"waypost_profile_{name}", text, labels=LABELS)
            for name, text in GAUGES.items()
        }
        age = GaugeMetricFamily(
            "waypost_profile_age_seconds", "How old the profile in force is", labels=LABELS
        )
        now = timezone.now()
        for profile in profiles:
            deployment = profile.deployment
            labels = [
                deployment.version.model.name,
                deployment.pool.name,
                deployment.provider.slug,
                str(deployment.pk),
                profile.origin,
                str(profile.emulated).lower(),
            ]
            for name, family in families.items():
                family.add_metric(labels, getattr(profile, name))
            age.add_metric(labels, (now - profile.created_at).total_seconds())
        yield from families.values()
        yield age
        runs = GaugeMetricFamily("waypost_benchmarks", "Benchmarks by state", labels=("state",))
        counted = dict(Benchmark.objects.order_by().values_list("state").annotate(n=Count("pk")))
        for state in JobState.values:
            runs.add_metric([state], counted.get(state, 0))
        yield runs

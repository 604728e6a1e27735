"""Benchmarks, and profiles: what is known about a deployment's speed apart from its traffic."""

from django.core.validators import MinValueValidator
from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from marketplace.benchmarks.loadgen.plan import Plan, plan_of
from marketplace.benchmarks.profiles.engine_figures import EngineFigures, figures_from
from marketplace.catalog.models import AIModel, Deployment, Worker
from marketplace.shared.jobs.models import Job, JobState
from marketplace.shared.jobs.periodic import Queue


class Target(models.TextChoices):
    """What is measured: one worker, the workers of a deployment in turn, or the router with all."""

    WORKER = "worker", _("Worker")
    DEPLOYMENT = "deployment", _("Deployment")
    ROUTE = "route", _("Route")


class Scenario(models.TextChoices):
    """MLPerf Inference's: how LoadGen sends queries."""

    SINGLE_STREAM = "single_stream", _("Single stream")
    MULTI_STREAM = "multi_stream", _("Multi stream")
    SERVER = "server", _("Server")
    OFFLINE = "offline", _("Offline")


class Trigger(models.TextChoices):
    """Why a benchmark was run."""

    PERSON = "person", _("A person")
    SCHEDULE = "schedule", _("The schedule")
    CHANGE = "change", _("Something new")
    DRIFT = "drift", _("Drift")
    PILOT = "pilot", _("A pilot for the advisor")


class Stage(models.TextChoices):
    """What a run does now. A row keeps it with the load and the count: ``stage|load|samples``."""

    WAITING = "waiting", _("waiting until live traffic leaves slots free")
    RESERVED = "reserved", _("waiting for its reserved slot")
    TURN = "turn", _("waiting for another benchmark to finish measuring")
    WARMING = "warming", _("warming up")
    MEASURING = "measuring", _("measuring")

    def at(self, load: float, samples: int = 0) -> str:
        return f"{self.value}|{load:g}|{samples}"


LOAD_PER_CORE = "load_per_core"
"""In a fingerprint: how many processes of this machine wanted each core, at most."""
BUSY_LOAD = 2.0
"""Above this, answers wait for a core of this machine about as long as they take."""


class Benchmark(Job):
    """One run over a load curve. ``target`` says which of ``deployment`` and ``worker`` are set.

    ``settings`` are what it was asked (:class:`.loadgen.plan.Plan`), ``fingerprint``
    what it ran on. ``raw_dir``, below the home folder, keeps LoadGen's own logs and every sample.
    """

    queue = Queue.CONTROL

    model = models.ForeignKey(AIModel, on_delete=models.CASCADE, related_name="benchmarks")
    target = models.CharField(max_length=12, choices=Target.choices)
    deployment = models.ForeignKey(
        Deployment, on_delete=models.CASCADE, null=True, blank=True, related_name="benchmarks"
    )
    worker = models.ForeignKey(
        Worker, on_delete=models.SET_NULL, null=True, blank=True, related_name="benchmarks"
    )
    scenario = models.CharField(max_length=16, choices=Scenario.choices)
    settings = models.JSONField(default=dict)
    trigger = models.CharField(max_length=10, choices=Trigger.choices, default=Trigger.PERSON)
    reason = models.CharField(max_length=300, blank=True)
    stage = models.CharField(max_length=200, blank=True)
    fingerprint = models.JSONField(default=dict)
    emulated = models.BooleanField(default=False)
    raw_dir = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["model", "-id"], name="benchmark_by_model")]

    def __str__(self) -> str:
        return f"{self.model}: {self.scenario} #{self.pk}"

    @property
    def plan(self) -> Plan:
        """What it was asked, as a value. Raises ``PlanInvalid``."""
        return plan_of(self.model.task, {k: v for k, v in self.settings.items() if k != "task"})

    @property
    def busy_load(self) -> float:
        """The load per core while it was measured, if that makes its figures doubtful, else 0."""
        load: float = self.fingerprint.get(LOAD_PER_CORE, 0.0)
        return load if load > BUSY_LOAD else 0.0

    @property
    def stage_text(self) -> str:
        """What the run does now, in words; "" where it does not run."""
        stage, _bar, rest = self.stage.partition("|")
        load, _bar, samples = rest.partition("|")
        if stage not in Stage.values or self.state != JobState.RUNNING:
            return ""
        return gettext("load %(load)s: %(stage)s, %(samples)s samples") % {
            "load": load,
            "stage": Stage(stage).label,
            "samples": samples,
        }


class Point(models.Model):
    """One load of a benchmark's curve.

    ``load`` is the concurrency, or in the server scenario the requests a second that were aimed at.
    ``latency`` maps ``total_ms``, ``ttft_ms`` and ``tpot_ms`` (time per output token) to their
    ``mean``, ``p50``, ``p90`` and ``p99``, each as ``[value, low, high]`` with a 95 % interval.
    ``goodput_hz`` counts the answers within the SLO.
    """

    benchmark = models.ForeignKey(Benchmark, on_delete=models.CASCADE, related_name="points")
    load = models.FloatField()
    samples = models.PositiveIntegerField()
    errors = models.PositiveIntegerField(default=0)
    duration_s = models.FloatField()
    throughput_hz = models.FloatField()
    goodput_hz = models.FloatField()
    tokens_per_s = models.FloatField(default=0.0)
    latency = models.JSONField(default=dict)
    valid = models.BooleanField(default=True)
    invalid_because = models.CharField(max_length=300, blank=True)
    is_knee = models.BooleanField(default=False)

    class Meta:
        ordering = ["benchmark", "load"]
        constraints = [
            models.UniqueConstraint(fields=["benchmark", "load"], name="point_load_unique")
        ]

    def __str__(self) -> str:
        return f"{self.benchmark} at {self.load:g}"


class Origin(models.TextChoices):
    """Where the figures of a profile come from."""

    GIVEN = "given", _("Given by the provider")
    BENCHMARK = "benchmark", _("Benchmarked here")
    LIVE = "live", _("Live traffic")


class Profile(models.Model):
    """How fast one worker of a deployment is, with where the figures come from.

    ``service_ms`` is the mean service time of one request alone, ``batch_curve`` a list of
    ``[concurrency, service time relative to one alone]`` and ``slots`` the concurrency at the knee.
    ``capacity_hz`` requests a second meet ``slo_ms`` (0 = not known). ``engine`` is what streamed
    answers say (:class:`.profiles.engine_figures.EngineFigures`), {} without any.
    The newest published profile that has not expired is the router's prior. ``emulated`` marks
    figures of an emulated worker.
    """

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="profiles")
    service_ms = models.FloatField(validators=[MinValueValidator(0.001)])
    batch_curve = models.JSONField(default=list, blank=True)
    engine = models.JSONField(default=dict, blank=True)
    slots = models.PositiveIntegerField(default=0)
    capacity_hz = models.FloatField(default=0.0)
    slo_ms = models.FloatField(default=0.0)
    throughput_hz = models.FloatField(default=0.0)
    tokens_per_s = models.FloatField(default=0.0)
    origin = models.CharField(max_length=10, choices=Origin.choices, default=Origin.GIVEN)
    benchmark = models.ForeignKey(
        Benchmark, on_delete=models.SET_NULL, null=True, blank=True, related_name="profiles"
    )
    samples = models.PositiveIntegerField(default=0)
    fingerprint = models.JSONField(default=dict, blank=True)
    source = models.CharField(max_length=300, help_text=_("Where the figure comes from."))
    emulated = models.BooleanField(default=False)
    published = models.BooleanField(default=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["deployment", "-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(service_ms__gt=0), name="profile_service_positive"
            )
        ]

    def __str__(self) -> str:
        return f"{self.deployment}: {self.service_ms:g} ms"

    @property
    def engine_figures(self) -> EngineFigures | None:
        """``engine`` as a value; None without one."""
        return figures_from(self.engine) if self.engine else None

    @property
    def cost_nano_per_1000(self) -> int | None:
        """What a thousand requests cost in hardware where it is as busy as was measured.

        In nano-USD, by what the pool costs an hour now; None where either is not known.
        """
        return self._cost_nano(1_000, self.throughput_hz)

    @property
    def cost_nano_per_million_tokens(self) -> int | None:
        """The same for a million tokens that come out."""
        return self._cost_nano(1_000_000, self.tokens_per_s)

    def _cost_nano(self, units: int, units_per_s: float) -> int | None:
        hourly = self.deployment.pool.cost_nano_per_hour
        return round(hourly * units / (3_600 * units_per_s)) if hourly and units_per_s else None

"""Worker agents: the programs that run inference servers on GPU hosts and report about them."""

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.catalog.models import NAME, Pool, Worker

AGENT_NAME_CHARACTERS = 60


class WorkerToken(models.Model):
    """Lets agents register for the pool that it names: one, or all that bring a reusable one.

    Only a digest of it is kept.
    """

    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="worker_tokens")
    digest = models.CharField(max_length=64, unique=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    reusable = models.BooleanField(default=False)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"token {self.pk} for {self.pool}"

    @property
    def state(self) -> str:
        """``used``, ``expired`` or ``open``."""
        if self.used_at is not None and not self.reusable:
            return "used"
        return "open" if self.expires_at > timezone.now() else "expired"


class Agent(models.Model):
    """One registered agent. ``hardware`` is the list of devices that it found; empty for a CPU."""

    name = models.CharField(max_length=AGENT_NAME_CHARACTERS, unique=True, validators=[NAME])
    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="agents")
    token = models.ForeignKey(WorkerToken, on_delete=models.RESTRICT, related_name="agents")
    digest = models.CharField(max_length=64, unique=True)
    hardware = models.JSONField(default=list, blank=True)
    fingerprint = models.CharField(max_length=64)
    version = models.CharField(max_length=40)
    registered_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name


class ReportedState(models.TextChoices):
    """What an agent says of an inference server that it runs."""

    READY = "ready", _("Ready")
    """It is up and has answered a first call."""
    DRAINING = "draining", _("Draining")
    DOWN = "down", _("Down")
    GONE = "gone", _("Gone")
    """The agent no longer names it."""


class AgentWorker(models.Model):
    """What an agent last said of one of its servers. ``name`` is unique at the agent.

    The servers of a gang are several of one worker, kept apart by their ``rank``.
    """

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="workers")
    worker = models.ForeignKey(Worker, on_delete=models.CASCADE, related_name="reports")
    rank = models.PositiveSmallIntegerField(default=0)
    name = models.CharField(max_length=20, validators=[NAME])
    state = models.CharField(max_length=10, choices=ReportedState.choices)
    engine = models.CharField(max_length=40)
    engine_version = models.CharField(max_length=80, blank=True)
    served_model = models.CharField(max_length=200, blank=True)
    model_version = models.CharField(max_length=80, blank=True)

    class Meta:
        ordering = ["agent", "name"]
        constraints = [
            models.UniqueConstraint(fields=["agent", "name"], name="agent_worker_unique"),
            models.UniqueConstraint(fields=["worker", "rank"], name="agent_worker_rank_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.agent}: {self.name}"

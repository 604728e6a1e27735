"""Worker agents: the programs that run inference servers on GPU hosts and report about them."""

from typing import cast

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.catalog.models import NAME, Pool, Worker
from marketplace.endpoints.models import OwnEndpoint, OwnWorker

AGENT_NAME_CHARACTERS = 60
AGENT_NAME = RegexValidator(
    r"^(~[0-9]+\.)?[a-z0-9][a-z0-9._-]*$", _("Lower case letters, digits, . _ and - only.")
)


def _either(one: str, other: str) -> models.Q:
    """Exactly one of the two is set."""
    return models.Q(**{f"{one}__isnull": False, f"{other}__isnull": True}) | models.Q(
        **{f"{one}__isnull": True, f"{other}__isnull": False}
    )


class WorkerToken(models.Model):
    """Lets agents register for its pool, or for the endpoint of an organisation: one, or all that
    bring a reusable one.

    Only a digest of it is kept.
    """

    pool = models.ForeignKey(
        Pool, on_delete=models.CASCADE, null=True, blank=True, related_name="worker_tokens"
    )
    endpoint = models.ForeignKey(
        OwnEndpoint, on_delete=models.CASCADE, null=True, blank=True, related_name="worker_tokens"
    )
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
        constraints = [
            models.CheckConstraint(
                condition=_either("pool", "endpoint"), name="worker_token_for_one_place"
            )
        ]

    def __str__(self) -> str:
        # Its audit entry may be written when the endpoint is deleted already.
        return f"token {self.pk} for {self.pool or f'endpoint {self.endpoint_id}'}"

    @property
    def state(self) -> str:
        """``used``, ``expired`` or ``open``."""
        if self.used_at is not None and not self.reusable:
            return "used"
        return "open" if self.expires_at > timezone.now() else "expired"


class Agent(models.Model):
    """One registered agent. ``hardware`` is the list of devices that it found; empty for a CPU.

    Its servers are workers of a pool, or of an organisation's own endpoint. In the second case its
    name begins with the endpoint's place: who chooses a name learns nothing of others' hosts.
    """

    name = models.CharField(max_length=AGENT_NAME_CHARACTERS, unique=True, validators=[AGENT_NAME])
    pool = models.ForeignKey(
        Pool, on_delete=models.CASCADE, null=True, blank=True, related_name="agents"
    )
    endpoint = models.ForeignKey(
        OwnEndpoint, on_delete=models.CASCADE, null=True, blank=True, related_name="agents"
    )
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
        constraints = [
            models.CheckConstraint(condition=_either("pool", "endpoint"), name="agent_of_one_place")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def called(self) -> str:
        """The name without an endpoint's place."""
        return self.name.removeprefix(f"{self.endpoint.place}." if self.endpoint else "")


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
    worker = models.ForeignKey(
        Worker, on_delete=models.CASCADE, null=True, blank=True, related_name="reports"
    )
    own_worker = models.ForeignKey(
        OwnWorker, on_delete=models.CASCADE, null=True, blank=True, related_name="reports"
    )
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
            models.CheckConstraint(
                condition=_either("worker", "own_worker"), name="agent_worker_is_one_server"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.agent}: {self.name}"

    @property
    def server(self) -> Worker | OwnWorker:
        """The worker that it reports: of the market, or of an own endpoint."""
        return cast("Worker | OwnWorker", self.worker or self.own_worker)  # One is set.

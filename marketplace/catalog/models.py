"""The catalog's tables. A model's public name is ``author/slug``."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import Organisation
from router.domain.catalog import OWN

MODEL_NAME = RegexValidator(
    r"^[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*$", _("A model's name looks like author/slug.")
)
NAME = RegexValidator(r"^[a-z0-9][a-z0-9._-]*$", _("Lower case letters, digits, . _ and - only."))

# Not URLField: it refuses the short host names that clusters use.
BASE_URL = RegexValidator(
    r"^(https?|grpc)://[^\s/?#]+(/[^\s?#]*)?$",
    _("A base like http://host:port or grpc://host:port."),
)


PORT = [MinValueValidator(1), MaxValueValidator(65_535)]


class Provider(models.Model):
    """A seller of deployments. The platform keeps ``commission_bps`` of each charge."""

    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    website = models.URLField(blank=True)
    organisation = models.ForeignKey(
        Organisation,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="providers",
        help_text=_("Its members see what the provider earns."),
    )
    commission_bps = models.PositiveIntegerField(
        default=1_000,
        validators=[MaxValueValidator(10_000)],
        help_text=_("Basis points: 1000 is 10 %."),
    )
    emulated = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(commission_bps__lte=10_000), name="provider_commission_bounded"
            )
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.slug == OWN:
            raise ValidationError({"slug": _("This name is for what organisations have alone.")})


class Task(models.TextChoices):
    CHAT = "chat", _("Chat")
    EMBEDDINGS = "embeddings", _("Embeddings")
    RERANK = "rerank", _("Reranking")
    MODERATION = "moderation", _("Moderation")
    IMAGE = "image", _("Image generation")
    SPEECH = "speech", _("Speech")
    TRANSCRIPTION = "transcription", _("Transcription")
    TABULAR = "tabular", _("Tabular")
    VISION = "vision", _("Vision")


class AIModel(models.Model):
    """A model that customers call by name.

    ``tensors`` describes Open Inference Protocol models:
    ``{"inputs": [{"name", "datatype", "shape"}], "outputs": […]}``.
    """

    name = models.CharField(max_length=120, unique=True, validators=[MODEL_NAME])
    display_name = models.CharField(max_length=120)
    task = models.CharField(max_length=20, choices=Task.choices)
    description = models.TextField(blank=True)
    license = models.CharField(max_length=80, blank=True)
    source_url = models.URLField(blank=True)
    context_tokens_max = models.PositiveIntegerField(default=0)
    completion_tokens_max = models.PositiveIntegerField(default=0)
    input_schema = models.JSONField(default=dict, blank=True)
    tensors = models.JSONField(default=dict, blank=True)
    emulated = models.BooleanField(default=False)
    published = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("model")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def author(self) -> str:
        return self.name.partition("/")[0]

    @property
    def slug(self) -> str:
        return self.name.partition("/")[2]


class ModelVersion(models.Model):
    """A fixed set of weights of a model."""

    model = models.ForeignKey(AIModel, on_delete=models.CASCADE, related_name="versions")
    version = models.CharField(max_length=40, validators=[NAME])
    notes = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["model", "-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["model", "version"], name="model_version_unique")
        ]

    def __str__(self) -> str:
        return f"{self.model}:{self.version}"


class Pool(models.Model):
    """Interchangeable workers on one kind of hardware."""

    name = models.CharField(max_length=60, unique=True, validators=[NAME])
    hardware = models.CharField(max_length=80)
    engine = models.CharField(max_length=80)
    region = models.CharField(max_length=40, default="local")
    cost_nano_per_hour = models.PositiveBigIntegerField(
        default=0, help_text=_("The provider's cost of a worker, in nano-USD per hour.")
    )
    workers_min = models.PositiveSmallIntegerField(
        default=1, help_text=_("The minimum number of workers that it is scaled down to.")
    )
    workers_max = models.PositiveSmallIntegerField(
        default=16, help_text=_("The maximum number of workers that it is scaled up to.")
    )
    start_s = models.PositiveSmallIntegerField(
        default=0,
        help_text=_(
            "About how many seconds a worker takes to start. Calls wait for it while there is "
            "none. 0: they are refused."
        ),
    )
    emulated = models.BooleanField(default=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(workers_min__lte=models.F("workers_max")),
                name="pool_workers_ordered",
                violation_error_message=_(
                    "The minimum number of workers may not exceed the maximum."
                ),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} (emulated)" if self.emulated else self.name


class Protocol(models.TextChoices):
    OPENAI = "openai", _("OpenAI-compatible")
    OIP = "oip", _("Open Inference Protocol v2")
    OIP_GRPC = "oip_grpc", _("Open Inference Protocol v2 over gRPC")


GANG_SIZE_MAX = 64


class Server(models.Model):
    """An inference server with an address. ``healthy`` is the prober's last result."""

    worker_id = models.CharField(max_length=80, unique=True, validators=[NAME])
    url = models.CharField(max_length=300, validators=[BASE_URL])
    slots = models.PositiveIntegerField(default=1, validators=[MinValueValidator(1)])
    healthy = models.BooleanField(default=True)
    draining = models.BooleanField(
        default=False, help_text=_("Finishes what it has and gets nothing new.")
    )
    drain_reason = models.CharField(
        max_length=200, blank=True, editable=False, help_text=_("Why it is drained.")
    )
    health_checked_at = models.DateTimeField(null=True, blank=True, editable=False)
    health_error = models.CharField(max_length=200, blank=True, editable=False)
    reported_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text=_("When its agent last reported; empty without an agent."),
    )
    # Without a pause: how long the marketplace has surely heard somebody.
    reports_since = models.DateTimeField(null=True, blank=True, editable=False)
    reported_error = models.CharField(max_length=200, blank=True, editable=False)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.worker_id

    def clean(self) -> None:
        # Every command has the tables, and few need a client of HTTP.
        from marketplace.catalog.addresses import AddressRefused, host_of  # noqa: PLC0415

        try:
            host_of(self.url)
        except AddressRefused as error:
            raise ValidationError({"url": str(error)}) from error


class Worker(Server):
    """One addressable inference server of the market.

    A gang is several processes that serve as one, each with a part of the model. Its address is
    that of rank 0; the other ranks are ``members``. It is one worker in all else: it is routed,
    drained and paid for as one.
    """

    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="workers")
    protocol = models.CharField(max_length=10, choices=Protocol.choices)
    kv_events_port = models.PositiveIntegerField(
        _("KV events port"),
        null=True,
        blank=True,
        validators=PORT,
        help_text=_("Where an LLM engine publishes what is in its KV cache, on the URL's host."),
    )
    kv_replay_port = models.PositiveIntegerField(
        _("KV replay port"),
        null=True,
        blank=True,
        validators=PORT,
        help_text=_("Where it repeats what was missed of that."),
    )
    left_out = models.CharField(
        max_length=200,
        blank=True,
        editable=False,
        help_text=_("Why it could not be started; everybody may read it."),
    )
    gang_size = models.PositiveSmallIntegerField(
        default=1,
        editable=False,
        validators=[MinValueValidator(1), MaxValueValidator(GANG_SIZE_MAX)],
        help_text=_("How many processes serve as one worker; 1 means no gang."),
    )

    class Meta:
        ordering = ["worker_id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(slots__gte=1), name="worker_slots_positive")
        ]


class WorkerMember(models.Model):
    """A further process of a gang, of rank 1 and up, as its agent reports it.

    ``healthy`` is the prober's last word on those reports.
    """

    worker = models.ForeignKey(Worker, on_delete=models.CASCADE, related_name="members")
    rank = models.PositiveSmallIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(GANG_SIZE_MAX - 1)]
    )
    healthy = models.BooleanField(default=False)
    health_error = models.CharField(max_length=200, blank=True)
    reported_at = models.DateTimeField(null=True, blank=True)
    reported_error = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["worker", "rank"]
        constraints = [
            models.UniqueConstraint(fields=["worker", "rank"], name="worker_member_unique")
        ]

    def __str__(self) -> str:
        return f"{self.worker} rank {self.rank}"


class DeploymentStatus(models.TextChoices):
    LIVE = "live", _("Live")
    PAUSED = "paused", _("Paused")
    RETIRED = "retired", _("Retired")


class Quantization(models.TextChoices):
    UNSTATED = "", _("Not stated")
    INT4 = "int4", "int4"
    INT8 = "int8", "int8"
    FP4 = "fp4", "fp4"
    FP6 = "fp6", "fp6"
    FP8 = "fp8", "fp8"
    FP16 = "fp16", "fp16"
    BF16 = "bf16", "bf16"
    FP32 = "fp32", "fp32"


class Deployment(models.Model):
    """A provider's offering of a model version on a pool."""

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="deployments")
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="deployments")
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="deployments")
    upstream_model = models.CharField(
        max_length=120, help_text=_("The model's name on the workers.")
    )
    status = models.CharField(
        max_length=10, choices=DeploymentStatus.choices, default=DeploymentStatus.LIVE
    )
    quantization = models.CharField(
        max_length=4, choices=Quantization.choices, default=Quantization.UNSTATED, blank=True
    )
    supported_parameters = ArrayField(
        models.CharField(max_length=60),
        default=list,
        blank=True,
        help_text=_("Request fields that the workers support, separated by commas: tools, seed, …"),
    )
    collects_data = models.BooleanField(
        default=True, help_text=_("The provider may keep prompts or answers.")
    )
    published = models.BooleanField(
        default=True,
        db_default=True,
        help_text=_("Strangers see it while it is paused, too; else it waits for approval."),
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["version", "provider", "pool"], name="deployment_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.version} · {self.provider} · {self.pool}"

    def clean(self) -> None:
        if self.version.model.emulated != self.pool.emulated:
            raise ValidationError(
                _("An emulated model runs on emulated pools only, and a real one on real pools.")
            )

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.clean()
        super().save(*args, **kwargs)


class Offer(models.Model):
    """One immutable price version of a deployment; a later one supersedes it.

    In nano-USD: token prices per million, the others per request, row, image or second of
    hardware. ``unit`` says what rows are, as an item of charges. The newest offer whose
    ``effective_at`` has passed is in force. A database trigger refuses changes.
    """

    deployment = models.ForeignKey(Deployment, on_delete=models.PROTECT, related_name="offers")
    prompt_nano_per_million = models.PositiveBigIntegerField(default=0)
    cached_nano_per_million = models.PositiveBigIntegerField(default=0)
    completion_nano_per_million = models.PositiveBigIntegerField(default=0)
    reasoning_nano_per_million = models.PositiveBigIntegerField(default=0)
    request_nano = models.PositiveBigIntegerField(default=0)
    row_nano = models.PositiveBigIntegerField(default=0)
    unit = models.CharField(
        max_length=20,
        default="rows",
        db_default="rows",
        editable=False,
        help_text=_("What a row is: one of a tensor's, or what the model's task is counted in."),
    )
    image_nano = models.PositiveBigIntegerField(default=0)
    second_nano = models.PositiveBigIntegerField(default=0)
    batch_discount_bps = models.PositiveSmallIntegerField(
        default=0,
        db_default=0,
        validators=[MaxValueValidator(10_000)],
        help_text=_("What a batch pays less, in basis points: 5000 is half."),
    )
    effective_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["deployment", "-effective_at", "-id"]
        indexes = [
            models.Index(fields=["deployment", "-effective_at", "-id"], name="offer_in_force")
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(batch_discount_bps__lte=10_000), name="offer_discount_bounded"
            )
        ]

    def __str__(self) -> str:
        return f"offer {self.pk} of {self.deployment}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None and not self._state.adding:
            raise ValidationError(_("A published price is never edited: publish a new one."))
        super().save(*args, **kwargs)

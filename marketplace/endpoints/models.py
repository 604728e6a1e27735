"""Endpoints that an organisation lists for itself alone.

None of this is in the catalog's tables, so that nothing that reads the market can show it.
"""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import Organisation
from marketplace.catalog.models import BASE_URL, AIModel, Protocol, Server
from router.domain.catalog import OWN_MARK

SLOTS_MAX = 1_000
TOKENS_MAX = 10_000_000


class Dialect(models.TextChoices):
    """What an endpoint speaks."""

    OPENAI = "openai", _("OpenAI-compatible")
    ANTHROPIC = "anthropic", _("Anthropic's messages")


class OwnTask(models.TextChoices):
    """What an endpoint is for."""

    CHAT = "chat", _("Chat")
    EMBEDDINGS = "embeddings", _("Embeddings")


class OwnEndpoint(models.Model):
    """A deployment that one organisation alone calls, as :attr:`name`.

    Its ``sealed_key`` is an envelope of :mod:`router.contracts.sealing`, which routers open. The
    URL never changes, as the key would go to another host with it. Calls for ``stands_for`` go
    here first, and with ``spills`` to the market where it cannot take them. Records name it by
    :attr:`deployment_id`, and outlive it.

    One that is ``hosted`` has no URL and no slots: its servers are ``workers``, which agents on the
    organisation's own hosts report.
    """

    organisation = models.ForeignKey(
        Organisation, on_delete=models.CASCADE, related_name="own_endpoints"
    )
    slug = models.SlugField(_("name"), max_length=40)
    task = models.CharField(_("task"), max_length=12, choices=OwnTask.choices, default=OwnTask.CHAT)
    dialect = models.CharField(
        _("dialect"), max_length=12, choices=Dialect.choices, default=Dialect.OPENAI
    )
    hosted = models.BooleanField(default=False, db_default=False, editable=False)
    url = models.CharField(_("base URL"), max_length=300, validators=[BASE_URL], blank=True)
    upstream_model = models.CharField(_("model at the endpoint"), max_length=120)
    sealed_key = models.TextField(blank=True, editable=False)
    masked_key = models.CharField(max_length=16, blank=True, editable=False)
    key_changed_at = models.DateTimeField(null=True, editable=False)
    slots = models.PositiveIntegerField(
        _("calls at once"),
        default=16,
        validators=[MinValueValidator(1), MaxValueValidator(SLOTS_MAX)],
    )
    context_tokens_max = models.PositiveIntegerField(
        _("context in tokens"), default=0, validators=[MaxValueValidator(TOKENS_MAX)]
    )
    completion_tokens_max = models.PositiveIntegerField(
        _("longest answer in tokens"), default=0, validators=[MaxValueValidator(TOKENS_MAX)]
    )
    stands_for = models.ForeignKey(
        AIModel,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("first for the market's model"),
    )
    spills = models.BooleanField(_("then the market"), default=True)
    market_prompt_nano_max = models.PositiveBigIntegerField(null=True, blank=True)
    market_completion_nano_max = models.PositiveBigIntegerField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["organisation", "slug"]
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "slug"],
                name="own_endpoint_named_once",
                violation_error_message=_("You have an endpoint of this name already."),
            ),
            models.UniqueConstraint(
                fields=["organisation", "stands_for"],
                name="own_endpoint_one_stands_for",
                violation_error_message=_("Another endpoint of yours is first for this model."),
            ),
            models.CheckConstraint(
                condition=models.Q(slots__gte=1), name="own_endpoint_slots_positive"
            ),
            models.CheckConstraint(
                condition=models.Q(hosted=True, url="")
                | models.Q(hosted=False) & ~models.Q(url=""),
                name="own_endpoint_hosted_or_at_a_url",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """What its organisation calls it by: unique, since the organisation's slug is."""
        return f"{OWN_MARK}{self.organisation.slug}/{self.slug}"

    @property
    def deployment_id(self) -> int:
        """Its id in records, where the market's deployments have positive ones."""
        return -self.pk

    @property
    def place(self) -> str:
        """The name of its pool, and of its worker if it has a URL. Nobody else's is called so."""
        return f"{OWN_MARK}{self.pk}"


class OwnWorker(Server):
    """An inference server on a host of the endpoint's organisation.

    Its ``worker_id`` begins with the endpoint's :attr:`~OwnEndpoint.place`.
    """

    worker_id = models.CharField(max_length=80, unique=True)
    endpoint = models.ForeignKey(OwnEndpoint, on_delete=models.CASCADE, related_name="workers")
    gang_size = 1
    protocol: str = Protocol.OPENAI

    class Meta:
        ordering = ["worker_id"]

"""Listings with their history, and the conformance checks of their endpoints."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import User
from marketplace.benchmarks.models import Benchmark
from marketplace.catalog.models import AIModel, Deployment, Provider, Quantization, Task
from marketplace.providers.conformance.checks import LABELS, advice_text
from marketplace.providers.listings.states import ListingAction, ListingState
from marketplace.shared.jobs.models import STATES_OPEN, Job
from router.domain.pricing import PRICE_FIELDS, Price

MODEL_FIELDS = (
    "display_name",
    "task",
    "description",
    "license",
    "source_url",
    "context_tokens_max",
    "completion_tokens_max",
    "input_schema",
    "tensors",
)
"""What a listing says of a new model, besides its name; fields of both."""


class Listing(models.Model):
    """What a provider publishes: a draft that becomes a deployment.

    A draft may be incomplete: what is missing is reported on submission. ``existing_model`` is set
    where another provider's model is offered too, else the fields from ``model_name`` on describe a
    new one. ``endpoints`` are ``{"url", "protocol", "slots"}``; empty for a pool of the provider's
    that has its workers already. Prices are as in :class:`marketplace.catalog.models.Offer`.
    ``deployment`` is made, paused, once the check has passed.
    """

    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="listings")
    state = models.CharField(
        max_length=12, choices=ListingState.choices, default=ListingState.DRAFT, editable=False
    )
    existing_model = models.ForeignKey(
        AIModel, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    model_name = models.CharField(max_length=120, blank=True)
    display_name = models.CharField(max_length=120, blank=True)
    task = models.CharField(max_length=20, choices=Task.choices, blank=True)
    description = models.TextField(max_length=4_000, blank=True)
    license = models.CharField(max_length=80, blank=True)
    source_url = models.URLField(blank=True)
    context_tokens_max = models.PositiveIntegerField(default=0)
    completion_tokens_max = models.PositiveIntegerField(default=0)
    input_schema = models.JSONField(default=dict, blank=True)
    tensors = models.JSONField(default=dict, blank=True)
    version = models.CharField(max_length=40, blank=True)
    version_notes = models.TextField(max_length=4_000, blank=True)
    pool_name = models.CharField(max_length=60, blank=True)
    hardware = models.CharField(max_length=80, blank=True)
    engine = models.CharField(max_length=80, blank=True)
    region = models.CharField(max_length=40, blank=True)
    cost_nano_per_hour = models.PositiveBigIntegerField(default=0)
    endpoints = models.JSONField(default=list, blank=True)
    upstream_model = models.CharField(max_length=120, blank=True)
    quantization = models.CharField(max_length=4, choices=Quantization.choices, blank=True)
    supported_parameters = ArrayField(models.CharField(max_length=60), default=list, blank=True)
    collects_data = models.BooleanField(default=True)
    prompt_nano_per_million = models.PositiveBigIntegerField(default=0)
    cached_nano_per_million = models.PositiveBigIntegerField(default=0)
    completion_nano_per_million = models.PositiveBigIntegerField(default=0)
    reasoning_nano_per_million = models.PositiveBigIntegerField(default=0)
    request_nano = models.PositiveBigIntegerField(default=0)
    row_nano = models.PositiveBigIntegerField(default=0)
    image_nano = models.PositiveBigIntegerField(default=0)
    second_nano = models.PositiveBigIntegerField(default=0)
    deployment = models.OneToOneField(
        Deployment, on_delete=models.PROTECT, null=True, blank=True, editable=False
    )
    benchmark = models.ForeignKey(
        Benchmark,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
    )
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["state", "id"], name="listing_by_state")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=ListingState.values), name="listing_state_known"
            ),
            models.CheckConstraint(
                condition=models.Q(deployment__isnull=False)
                | models.Q(
                    state__in=[ListingState.DRAFT, ListingState.CHECKING, ListingState.RETIRED]
                ),
                name="listing_staged_has_deployment",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} · {self.provider}"

    @property
    def name(self) -> str:
        """The public name that the listing is, or will be, called by; "" before it has one."""
        return self.existing_model.name if self.existing_model else self.model_name

    @property
    def task_asked(self) -> str:
        return self.existing_model.task if self.existing_model else self.task

    @property
    def tensors_asked(self) -> dict[str, Any]:
        return self.existing_model.tensors if self.existing_model else self.tensors

    @property
    def price(self) -> Price:
        return Price(id=0, **{name: getattr(self, name) for name in PRICE_FIELDS})

    def describe(self, model: AIModel) -> None:
        """Write into the listing's own model what it says of it."""
        model.name = self.model_name
        for name in MODEL_FIELDS:
            setattr(model, name, getattr(self, name))

    @property
    def is_draft(self) -> bool:
        return self.state == ListingState.DRAFT

    @property
    def is_moving(self) -> bool:
        """Whether something works on it now."""
        return self.state in (ListingState.CHECKING, ListingState.BENCHMARKING)


class ListingEvent(models.Model):
    """Who did what to a listing, and why. Never changed."""

    listing = models.ForeignKey(Listing, on_delete=models.CASCADE, related_name="events")
    action = models.CharField(max_length=16, choices=ListingAction.choices)
    from_state = models.CharField(max_length=12, choices=ListingState.choices)
    to_state = models.CharField(max_length=12, choices=ListingState.choices)
    by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    actor = models.CharField(max_length=254)
    why = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise ValidationError(_("History cannot be changed."))
        super().save(*args, **kwargs)


class Verdict(models.TextChoices):
    PASS = "pass", _("Passed")
    WARN = "warn", _("Warning")
    FAIL = "fail", _("Failed")
    SKIP = "skip", _("Not tested")


class ConformanceRun(Job):
    """One check of all endpoints of a listing as it was then."""

    listing = models.ForeignKey(Listing, on_delete=models.CASCADE, related_name="runs")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["listing"],
                condition=models.Q(state__in=STATES_OPEN),
                name="conformance_one_at_a_time",
            )
        ]

    def __str__(self) -> str:
        return f"check #{self.pk} of {self.listing}"


class ConformanceResult(models.Model):
    """One check of one endpoint. ``code`` and ``params`` make up the advice, in any language."""

    run = models.ForeignKey(ConformanceRun, on_delete=models.CASCADE, related_name="results")
    endpoint = models.CharField(max_length=300)
    check_name = models.CharField(max_length=24)
    verdict = models.CharField(max_length=4, choices=Verdict.choices)
    code = models.CharField(max_length=40)
    params = models.JSONField(default=dict, blank=True)
    sent = models.CharField(max_length=600, blank=True)
    received = models.CharField(max_length=600, blank=True)
    took_ms = models.FloatField(default=0.0)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.check_name}: {self.verdict}"

    @property
    def label(self) -> str | Promise:
        return LABELS.get(self.check_name, self.check_name)

    @property
    def advice(self) -> str:
        return advice_text(self.code, self.params)

"""Listings over the management API: the same actions as in the console."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import is_staff, organisations_seen_by
from marketplace.accounts.models import ApiKey, Organisation, User
from marketplace.catalog.models import AIModel, Protocol, Provider
from marketplace.catalog.selectors import models_published
from marketplace.providers.access import provider_demand
from marketplace.providers.listings.drafts import ENDPOINTS_MAX, SLOTS_MAX
from marketplace.providers.listings.states import BY_PEOPLE, STEPS, ListingAction, Who
from marketplace.providers.models import (
    MODEL_FIELDS,
    ConformanceResult,
    ConformanceRun,
    Listing,
    ListingEvent,
)
from marketplace.providers.selectors import listings_of, run_shown
from marketplace.providers.services import (
    Actor,
    listing_act,
    listing_create,
    listing_update,
)
from marketplace.shared.known_fields import KnownFieldsOnly
from router.domain.pricing import PRICE_FIELDS

VERBS = "|".join(action.value for action in BY_PEOPLE)
DRAFT = (
    "model_name",
    *MODEL_FIELDS,
    "version",
    "version_notes",
    "pool_name",
    "hardware",
    "engine",
    "region",
    "cost_nano_per_hour",
    "upstream_model",
    "quantization",
    "supported_parameters",
    "collects_data",
    *PRICE_FIELDS,
)


def actor_of(request: Request, who: Who) -> Actor:
    """The caller's name for the record: a person's address or a key's name."""
    if isinstance(request.auth, ApiKey):
        return Actor(who, f"key {request.auth.name}")
    user = request.user
    return Actor(who, user.email if isinstance(user, User) else "", user)  # type: ignore[arg-type]


class EndpointSerializer(serializers.Serializer[Any]):
    """One worker."""

    url = serializers.CharField(max_length=300)
    protocol = serializers.ChoiceField(Protocol.choices)
    slots = serializers.IntegerField(min_value=1, max_value=SLOTS_MAX)


class ListingSerializer(KnownFieldsOnly, serializers.ModelSerializer[Listing]):
    """A draft may be partial. ``actions`` are what the caller may do now."""

    provider = serializers.SlugRelatedField("slug", queryset=Provider.objects.all())
    existing_model = serializers.SlugRelatedField(
        "name",
        queryset=AIModel.objects.all(),
        required=False,
        allow_null=True,
        help_text="Another provider's model, to offer it too: author/slug.",
    )
    name = serializers.CharField(read_only=True)
    endpoints = EndpointSerializer(many=True, required=False)

    class Meta:
        model = Listing
        fields = [
            "id",
            "provider",
            "state",
            "name",
            "existing_model",
            *DRAFT,
            "endpoints",
            "deployment",
            "benchmark",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["state", "deployment", "benchmark", "created_at", "updated_at"]

    def validate_existing_model(self, model: AIModel | None) -> AIModel | None:
        if model is not None and not models_published().filter(pk=model.pk).exists():
            raise serializers.ValidationError("The catalog has no model of this name.")
        return model

    def validate_endpoints(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(rows) > ENDPOINTS_MAX:
            raise serializers.ValidationError(f"At most {ENDPOINTS_MAX} endpoints a listing.")
        return [dict(row) for row in rows]

    def validate_input_schema(self, value: Any) -> Any:
        return _object(value)

    def validate_tensors(self, value: Any) -> Any:
        return _object(value)


def _object(value: Any) -> Any:
    if not isinstance(value, dict):
        raise serializers.ValidationError("Enter a JSON object.")
    return value


class ListingEventSerializer(serializers.ModelSerializer[ListingEvent]):
    class Meta:
        model = ListingEvent
        fields = ["id", "action", "from_state", "to_state", "actor", "why", "at"]
        read_only_fields = fields


class ConformanceResultSerializer(serializers.ModelSerializer[ConformanceResult]):
    advice = serializers.CharField(read_only=True)

    class Meta:
        model = ConformanceResult
        fields = [
            "endpoint",
            "check_name",
            "verdict",
            "code",
            "advice",
            "sent",
            "received",
            "took_ms",
        ]
        read_only_fields = fields


class ConformanceRunSerializer(serializers.ModelSerializer[ConformanceRun]):
    results = ConformanceResultSerializer(many=True, read_only=True)

    class Meta:
        model = ConformanceRun
        fields = ["id", "state", "error", "created_at", "started_at", "ended_at", "results"]
        read_only_fields = fields


class StepSerializer(serializers.Serializer[Any]):
    why = serializers.CharField(
        max_length=500,
        required=False,
        default="",
        allow_blank=True,
        help_text="Needed to send back and to suspend.",
    )


class ListingViewSet(
    mixins.CreateModelMixin, mixins.UpdateModelMixin, viewsets.ReadOnlyModelViewSet[Listing]
):
    """Listings of the caller's providers, from draft to live. Staff see all listings."""

    permission_classes = [IsAuthenticated]
    serializer_class = ListingSerializer
    queryset = Listing.objects.all()
    filterset_fields = ["provider__slug", "state"]
    http_method_names = ["get", "post", "patch", "head", "options"]

    def get_queryset(self) -> QuerySet[Listing]:
        everyone = is_staff(self.request)
        return listings_of(
            Organisation.objects.all() if everyone else organisations_seen_by(self.request)
        )

    def perform_create(self, serializer: serializers.BaseSerializer[Listing]) -> None:
        values = dict(serializer.validated_data)
        provider = values.pop("provider")
        provider_demand(self.request, provider)
        user = self.request.user
        serializer.instance = listing_create(
            provider=provider, created_by=user if isinstance(user, User) else None, **values
        )

    def perform_update(self, serializer: serializers.BaseSerializer[Listing]) -> None:
        """Change a draft. Its provider stays."""
        listing = self.get_object()
        provider_demand(self.request, listing.provider)
        values = dict(serializer.validated_data)
        if values.pop("provider", listing.provider) != listing.provider:
            raise serializers.ValidationError({"provider": "A listing stays with its provider."})
        serializer.instance = listing_update(listing=listing, **values)

    @extend_schema(responses=ConformanceRunSerializer)
    @action(detail=True)
    def check(self, request: Request, pk: str) -> Response:
        """The newest conformance check with its results so far."""
        run = run_shown(self.get_object())
        if run is None:
            raise NotFound("It was not checked yet: submit it.")
        return Response(ConformanceRunSerializer(run).data)

    @extend_schema(responses=ListingEventSerializer(many=True))
    @action(detail=True, pagination_class=None, filterset_fields=[])
    def history(self, request: Request, pk: str) -> Response:
        """Who did what, newest first."""
        rows = self.get_object().events.all()[:200]
        return Response(ListingEventSerializer(rows, many=True).data)

    @extend_schema(
        operation_id="v1_listings_step",
        parameters=[
            OpenApiParameter("verb", OpenApiTypes.STR, OpenApiParameter.PATH, enum=VERBS.split("|"))
        ],
        request=StepSerializer,
        responses=ListingSerializer,
    )
    @action(detail=True, methods=["post"], url_path=f"(?P<verb>{VERBS})", url_name="step")
    def step(self, request: Request, pk: str, verb: str) -> Response:
        """Take a step. Only staff approve, send back, suspend and reinstate."""
        listing = self.get_object()
        asked = StepSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        who = _side(request, listing, ListingAction(verb))
        row = listing_act(
            listing=listing,
            action=verb,
            actor=actor_of(request, who),
            why=asked.validated_data["why"],
        )
        return Response(
            ListingSerializer(listings_of(Organisation.objects.all()).get(pk=row.pk)).data
        )


def _side(request: Request, listing: Listing, verb: ListingAction) -> Who:
    """The side that takes the step: staff for their own steps, else the provider."""
    sides: set[Who] = set()
    for (_state, item), step in STEPS.items():
        sides |= step.by if item == verb else set()
    if Who.STAFF in sides and is_staff(request):
        return Who.STAFF
    if Who.PROVIDER not in sides:
        raise PermissionDenied("This is for the platform's staff.")
    provider_demand(request, listing.provider)
    return Who.PROVIDER

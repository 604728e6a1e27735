"""Listings and providers over the management API: the same actions as in the console."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import is_staff, organisations_seen_by
from marketplace.accounts.models import ApiKey, Organisation, User
from marketplace.catalog.models import AIModel, Deployment, Protocol, Provider
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
from marketplace.providers.on_sale.lost_calls import lost_of
from marketplace.providers.on_sale.prices import (
    meaning_of,
    price_set,
    price_versions,
    price_withdraw,
)
from marketplace.providers.on_sale.token_counts import counted_of
from marketplace.providers.on_sale.traffic import traffic_of
from marketplace.providers.selectors import listings_of, run_shown
from marketplace.providers.services import (
    Actor,
    listing_act,
    listing_create,
    listing_update,
)
from marketplace.routing.topology import polling
from marketplace.shared.known_fields import KnownFieldsOnly
from marketplace.usage.windows import RANGES, window_of
from router.domain.pricing import PRICE_FIELDS, Price

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


class PriceSerializer(serializers.Serializer[Any]):
    """A price version; amounts in nano-USD, as in offers."""

    batch_discount_bps = serializers.IntegerField(
        min_value=0,
        max_value=10_000,
        allow_null=True,
        default=None,
        help_text="What a batch pays less, in basis points; null keeps that of the price in force.",
    )
    effective_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    preview = serializers.BooleanField(
        default=False, write_only=True, help_text="Only say what it would mean."
    )

    def get_fields(self) -> dict[str, Any]:
        amounts = {
            name: serializers.IntegerField(min_value=0, max_value=2**53, default=0)
            for name in PRICE_FIELDS
        }
        return {**super().get_fields(), **amounts}


class MeaningSerializer(serializers.Serializer[Any]):
    """What a typical call would cost and earn; with ``calls`` 0 it is an assumption."""

    calls = serializers.IntegerField(source="typical.calls")
    charge_nano = serializers.IntegerField()
    batch_nano = serializers.IntegerField(help_text="What the same call costs in a batch.")
    commission_nano = serializers.IntegerField()
    earned_nano = serializers.IntegerField()
    before_nano = serializers.IntegerField(allow_null=True)
    change = serializers.FloatField(allow_null=True)


class PriceVersionSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField(source="offer.pk")
    state = serializers.CharField(help_text="upcoming, in_force, superseded, or withdrawn.")
    effective_at = serializers.DateTimeField(source="offer.effective_at")
    batch_discount_bps = serializers.IntegerField(source="offer.batch_discount_bps")

    def get_fields(self) -> dict[str, Any]:
        amounts = {name: serializers.IntegerField(source=f"offer.{name}") for name in PRICE_FIELDS}
        return {**super().get_fields(), **amounts}


class WithdrawSerializer(serializers.Serializer[Any]):
    offer = serializers.IntegerField(min_value=1)


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField()
    calls = serializers.IntegerField()
    share = serializers.FloatField(help_text="Of those lost, 0 to 1.")


class WorkerHealthSerializer(serializers.Serializer[Any]):
    worker_id = serializers.CharField()
    url = serializers.CharField()
    slots = serializers.IntegerField()
    healthy = serializers.BooleanField()
    draining = serializers.BooleanField()
    health_error = serializers.CharField()
    health_checked_at = serializers.DateTimeField(allow_null=True)


class RatioSerializer(serializers.Serializer[Any]):
    """Tokens that workers report per token that the router counts."""

    of = serializers.CharField(help_text="prompt, stream or whole.")
    ratio = serializers.FloatField()
    median = serializers.FloatField(help_text="The model's, over all its workers.")
    most = serializers.FloatField(help_text="Up to what they are believed.")


class CountedSerializer(serializers.Serializer[Any]):
    """How the workers counted in their last answers; ``unheard`` routers did not answer."""

    answers = serializers.IntegerField()
    cut = serializers.IntegerField(help_text="Answers that said more than is believed.")
    unbilled_tokens = serializers.IntegerField()
    ratios = RatioSerializer(many=True)
    unheard = serializers.IntegerField()


class TrafficSerializer(serializers.Serializer[Any]):
    """``lost`` is out of ``decisions`` recorded ones, the newest of the range."""

    calls = serializers.IntegerField(source="traffic.totals.calls")
    not_completed = serializers.IntegerField(source="traffic.totals.failed")
    model_calls = serializers.IntegerField(source="traffic.model_calls")
    share = serializers.FloatField(source="traffic.share", allow_null=True)
    total_ms_p50 = serializers.FloatField(source="traffic.totals.total_ms_p50", allow_null=True)
    total_ms_p99 = serializers.FloatField(source="traffic.totals.total_ms_p99", allow_null=True)
    tokens_in = serializers.IntegerField(source="traffic.totals.tokens_in")
    tokens_out = serializers.IntegerField(source="traffic.totals.tokens_out")
    decisions = serializers.IntegerField(source="lost.calls")
    lost = ReasonSerializer(source="reasons", many=True)
    workers = WorkerHealthSerializer(many=True)
    counted = CountedSerializer()


class OfferingViewSet(viewsets.GenericViewSet[Deployment]):
    """What the caller's providers sell, by deployment: price, health and traffic."""

    permission_classes = [IsAuthenticated]
    serializer_class = TrafficSerializer
    queryset = Deployment.objects.all()

    def get_queryset(self) -> QuerySet[Deployment]:
        return Deployment.objects.filter(
            provider__organisation__in=organisations_seen_by(self.request)
        ).select_related("version__model", "provider__organisation", "pool")

    @extend_schema(
        parameters=[OpenApiParameter("range", OpenApiTypes.STR, enum=list(RANGES))],
        responses=TrafficSerializer,
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """Workers' health, calls, share of the model's traffic, and why other calls were lost."""
        row = self.get_object()
        window = window_of(request.query_params, timezone.now())
        lost = lost_of(row, window)
        shown = {
            "traffic": traffic_of(row, window),
            "lost": lost,
            "reasons": [
                {"reason": reason, "calls": calls, "share": part}
                for reason, calls, part, _remedy in lost.rows
            ],
            "workers": row.pool.workers.all(),
            "counted": counted_of(row, polling.WATCH.read()),
        }
        return Response(TrafficSerializer(shown).data)

    @extend_schema(methods=["get"], request=None, responses=PriceVersionSerializer(many=True))
    @extend_schema(
        methods=["post"],
        request=PriceSerializer,
        responses={200: MeaningSerializer, 201: PriceVersionSerializer(many=True)},
    )
    @action(detail=True, methods=["get", "post"], pagination_class=None)
    def prices(self, request: Request, pk: str) -> Response:
        """Price versions; ``POST`` publishes one, or with ``preview`` says what it would mean."""
        row = self.get_object()
        if request.method != "POST":
            return self._versions(row)
        provider_demand(request, row.provider)
        asked = PriceSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        values = asked.validated_data
        price = Price(id=0, **{name: values[name] for name in PRICE_FIELDS})
        discount = values["batch_discount_bps"]
        if values["preview"]:
            return Response(MeaningSerializer(meaning_of(row, price, discount)).data)
        price_set(
            deployment=row,
            price=price,
            effective_at=values["effective_at"],
            batch_discount_bps=discount,
        )
        return self._versions(row, status.HTTP_201_CREATED)

    @extend_schema(request=WithdrawSerializer, responses=PriceVersionSerializer(many=True))
    @action(detail=True, methods=["post"], url_path="prices/withdraw", pagination_class=None)
    def withdraw(self, request: Request, pk: str) -> Response:
        """Withdraw an upcoming price: the previous one is republished for its date."""
        row = self.get_object()
        provider_demand(request, row.provider)
        asked = WithdrawSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        offer = row.offers.filter(pk=asked.validated_data["offer"]).first()
        if offer is None:
            raise NotFound("This deployment has no such offer.")
        price_withdraw(offer=offer)
        return self._versions(row)

    def _versions(self, row: Deployment, code: int = status.HTTP_200_OK) -> Response:
        return Response(PriceVersionSerializer(price_versions(row), many=True).data, code)

"""Invoices, payout statements, earnings and payouts over the management API."""

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import StaffWritesAllRead, organisations_seen_by
from marketplace.billing.invoices.documents import statement_csv, statement_pdf
from marketplace.billing.invoices.earnings import earnings_of
from marketplace.billing.invoices.models import Statement, StatementKind
from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.selectors import statements_of
from marketplace.billing.models import Payout
from marketplace.billing.services import payout_record
from marketplace.catalog.api import ChargeLineSerializer
from marketplace.catalog.models import Provider


class FileRenderer(BaseRenderer):
    """Renders a file unchanged, and a problem as JSON."""

    charset = None
    render_style = "binary"

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        return data if isinstance(data, bytes) else JSONRenderer().render(data, *args, **kwargs)


class PDFRenderer(FileRenderer):
    media_type = "application/pdf"
    format = "pdf"


class CSVRenderer(FileRenderer):
    media_type = "text/csv"
    format = "csv"


class StatementSerializer(serializers.ModelSerializer[Statement]):
    organisation = serializers.CharField(source="account.organisation.slug", default=None)
    provider = serializers.CharField(source="account.provider.slug", default=None)
    period = serializers.CharField(source="month", help_text="A calendar month in UTC: 2026-10.")
    charges_nano = serializers.IntegerField(help_text="Spent on calls, or earned by them.")

    class Meta:
        model = Statement
        fields = [
            "number",
            "organisation",
            "provider",
            "period",
            "issued_at",
            "issuer",
            "holder",
            "currency",
            "opening_nano",
            "charges_nano",
            "closing_nano",
        ]
        read_only_fields = fields


class UsedSerializer(serializers.Serializer[Any]):
    """Token classes are disjoint."""

    prompt_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField()
    rows = serializers.IntegerField()
    images = serializers.IntegerField()
    hardware_ms = serializers.IntegerField()


class LineSerializer(serializers.Serializer[Any]):
    """``kind`` is ``charge`` for calls of a model at a price version, else a transfer's kind."""

    kind = serializers.CharField()
    amount_nano = serializers.IntegerField(help_text="Signed: what the account gained.")
    model = serializers.CharField()
    provider = serializers.CharField()
    price_id = serializers.IntegerField(help_text="The offer.")
    price_class = serializers.CharField(help_text="`standard`, or `batch`.")
    calls = serializers.IntegerField()
    usage = UsedSerializer()
    items = ChargeLineSerializer(many=True)
    commission_nano = serializers.IntegerField(help_text="What the platform kept of the calls.")
    reference = serializers.CharField(help_text="Of a transfer.")
    at_ms = serializers.IntegerField(help_text="A transfer's time, in Unix milliseconds.")


class StatementDetailSerializer(StatementSerializer):
    """With its lines, whose amounts sum to the difference of the balances."""

    lines = LineSerializer(source="entries", many=True)

    class Meta(StatementSerializer.Meta):
        fields = [*StatementSerializer.Meta.fields, "lines"]
        read_only_fields = fields


class StatementFilter(filters.FilterSet):
    organisation = filters.CharFilter(field_name="account__organisation__slug")
    provider = filters.CharFilter(field_name="account__provider__slug")
    period = filters.CharFilter(method="of_period", help_text="A month, as 2026-10.")

    class Meta:
        model = Statement
        fields: list[str] = []

    def of_period(self, rows: QuerySet[Statement], name: str, text: str) -> QuerySet[Statement]:
        try:
            return rows.filter(period=Month.parse(text).first_day)
        except ValueError as error:
            raise serializers.ValidationError({"period": str(error)}) from error


class StatementViewSet(viewsets.ReadOnlyModelViewSet[Statement]):
    """The caller's, by number. Never changed once issued."""

    kind: StatementKind
    queryset = Statement.objects.all()
    filterset_class = StatementFilter
    lookup_field = "number"
    lookup_value_regex = "[A-Z0-9-]+"

    def get_queryset(self) -> QuerySet[Statement]:
        return statements_of(organisations_seen_by(self.request)).filter(kind=self.kind)

    def get_serializer_class(self) -> type[StatementSerializer]:
        return StatementSerializer if self.action == "list" else StatementDetailSerializer

    @extend_schema(responses={(200, "application/pdf"): OpenApiTypes.BINARY})
    @action(detail=True, renderer_classes=[PDFRenderer])
    def pdf(self, request: Request, number: str) -> Response:
        """For people, in the language that ``Accept-Language`` asks for."""
        return self._file(statement_pdf(self.get_object()), f"{number}.pdf")

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.STR})
    @action(detail=True, renderer_classes=[CSVRenderer])
    def csv(self, request: Request, number: str) -> Response:
        """Every figure with all its decimals."""
        return self._file(statement_csv(self.get_object()).encode(), f"{number}.csv")

    def _file(self, content: bytes, name: str) -> Response:
        return Response(content, headers={"Content-Disposition": f'attachment; filename="{name}"'})


class InvoiceViewSet(StatementViewSet):
    """Invoices of the caller's organisations."""

    kind = StatementKind.INVOICE


class PayoutStatementViewSet(StatementViewSet):
    """Payout statements of providers that the caller's organisations run."""

    kind = StatementKind.PAYOUT


class EarnedSerializer(serializers.Serializer[Any]):
    """``statement`` is "" until the month's payout statement is issued."""

    month = serializers.CharField()
    model = serializers.CharField()
    calls = serializers.IntegerField()
    charged_nano = serializers.IntegerField()
    commission_nano = serializers.IntegerField()
    earned_nano = serializers.IntegerField()
    statement = serializers.CharField()


class EarningsViewSet(viewsets.ViewSet):
    """What a provider of the caller's earned, by month and model, newest month first."""

    @extend_schema(
        parameters=[OpenApiParameter("provider", str, required=True)],
        responses=EarnedSerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        slug = request.query_params.get("provider", "")
        mine = Provider.objects.filter(organisation__in=organisations_seen_by(request))
        provider = mine.filter(slug=slug).first()
        if provider is None:
            raise NotFound(f"Your organisations run no provider {slug!r}.")
        return Response(EarnedSerializer(earnings_of(provider), many=True).data)


class PayoutSerializer(serializers.ModelSerializer[Payout]):
    provider = serializers.SlugRelatedField(
        "slug", source="debit.provider", queryset=Provider.objects.all()
    )
    reference = serializers.CharField(max_length=100)

    class Meta:
        model = Payout
        fields = ["id", "provider", "amount_nano", "reference", "created_at"]
        read_only_fields = ["created_at"]
        extra_kwargs = {"amount_nano": {"min_value": 1}}


class PayoutViewSet(mixins.CreateModelMixin, viewsets.ReadOnlyModelViewSet[Payout]):
    """Payouts to providers that the caller's organisations run. Staff record them."""

    serializer_class = PayoutSerializer
    queryset = Payout.objects.all()
    permission_classes = [IsAuthenticated, StaffWritesAllRead]

    def get_queryset(self) -> QuerySet[Payout]:
        mine = organisations_seen_by(self.request)
        return Payout.objects.filter(debit__provider__organisation__in=mine).select_related(
            "debit__provider"
        )

    @extend_schema(responses={201: PayoutSerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Record a payout. The same reference is booked once. For staff."""
        return super().create(request, *args, **kwargs)

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        values = serializer.validated_data
        serializer.instance = payout_record(
            provider=values["debit"]["provider"],
            amount_nano=values["amount_nano"],
            reference=values["reference"],
            ordered_by=self.request.user,  # type: ignore[arg-type]  # only staff write here
        )

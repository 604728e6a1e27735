"""Payments over the management API. Roles are those of the pages; orders are for staff."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import organisation_acted_for, organisations_seen_by
from marketplace.accounts.api import OrganisationFilter
from marketplace.accounts.models import Organisation, User
from marketplace.accounts.permissions import Permission
from marketplace.billing.models import TransferKind
from marketplace.billing.payments.models import (
    AutoRecharge,
    Dispute,
    Payment,
    Refund,
    StaffTransfer,
)
from marketplace.billing.payments.recharge import auto_recharge_set
from marketplace.billing.payments.refunds import refund_request
from marketplace.billing.payments.services import PaymentsUnavailable, topup_begin
from marketplace.billing.payments.staff import grant_order
from marketplace.shared.paging import NewestFirst

IDEMPOTENCY_KEY_LENGTH_MAX = 200
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    location=OpenApiParameter.HEADER,
    description="What is sent again with the same key is done once.",
)


class Unavailable(APIException):
    """Stripe did not answer, or payments are off."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE


class RefundSerializer(serializers.ModelSerializer[Refund]):
    class Meta:
        model = Refund
        fields = ["id", "amount_cents", "state", "reason", "failure", "created_at"]
        read_only_fields = ["id", "state", "failure", "created_at"]


class DisputeSerializer(serializers.ModelSerializer[Dispute]):
    class Meta:
        model = Dispute
        fields = ["id", "amount_cents", "state", "reason", "created_at"]


class PaymentSerializer(serializers.ModelSerializer[Payment]):
    organisation = serializers.SlugField(source="organisation.slug", read_only=True)
    refunds = RefundSerializer(many=True, read_only=True)
    disputes = DisputeSerializer(many=True, read_only=True)

    class Meta:
        model = Payment
        fields = [
            "id",
            "organisation",
            "purpose",
            "state",
            "amount_cents",
            "failure",
            "created_at",
            "concluded_at",
            "refunds",
            "disputes",
        ]


class TopupSerializer(serializers.Serializer[Any]):
    """A payment to begin, and in the answer where to pay."""

    organisation = serializers.SlugField()
    amount_cents = serializers.IntegerField()
    save_card = serializers.BooleanField(default=False)
    payment = PaymentSerializer(read_only=True)
    checkout_url = serializers.URLField(read_only=True)


class NewestPaymentFirst(NewestFirst):
    ordering = ("-created_at", "-id")


class NewestOrganisationFirst(NewestFirst):
    ordering = "-organisation_id"


class NewestTransferFirst(NewestFirst):
    ordering = "-transfer_id"


class PaymentViewSet(viewsets.ReadOnlyModelViewSet[Payment]):
    """Payments of the caller's organisations. Amounts are in cents of a US dollar."""

    serializer_class = PaymentSerializer
    queryset = Payment.objects.all()
    filterset_class = OrganisationFilter
    pagination_class = NewestPaymentFirst

    def get_queryset(self) -> QuerySet[Payment]:
        return (
            Payment.objects.filter(organisation__in=organisations_seen_by(self.request))
            .select_related("organisation")
            .prefetch_related("refunds", "disputes")
        )

    @extend_schema(request=TopupSerializer, responses={201: TopupSerializer})
    def create(self, request: Request) -> Response:
        """Begin a top-up; a person pays at ``checkout_url``."""
        wanted = TopupSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        values = wanted.validated_data
        organisation = organisation_acted_for(request, values["organisation"], Permission.MONEY)
        try:
            checkout = topup_begin(
                organisation=organisation,
                amount_cents=values["amount_cents"],
                save_card=values["save_card"],
                created_by=_person(request),
            )
        except PaymentsUnavailable as error:
            raise Unavailable(str(error)) from error
        shown = {
            "organisation": organisation.slug,
            "amount_cents": checkout.payment.amount_cents,
            "save_card": values["save_card"],
            "payment": checkout.payment,
            "checkout_url": checkout.url,
        }
        return Response(TopupSerializer(shown).data, status.HTTP_201_CREATED)

    @extend_schema(
        request=RefundSerializer, responses={201: RefundSerializer}, parameters=[IDEMPOTENCY_KEY]
    )
    @action(detail=True, methods=["post"], filterset_class=None)
    def refund(self, request: Request, pk: str) -> Response:
        """Order a refund, for staff; the same ``Idempotency-Key`` refunds a payment once."""
        staff = _staff(request)
        wanted = RefundSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        try:
            payment = Payment.objects.get(pk=pk)
        except (Payment.DoesNotExist, ValidationError) as error:
            raise NotFound(f"There is no payment {pk!r}.") from error
        try:
            made = refund_request(
                payment=payment,
                requested_by=staff,
                idem_key=_idem_key(request),
                **wanted.validated_data,
            )
        except PaymentsUnavailable as error:
            raise Unavailable(str(error)) from error
        return Response(RefundSerializer(made).data, status.HTTP_201_CREATED)


class AutoRechargeSerializer(serializers.ModelSerializer[AutoRecharge]):
    organisation = serializers.SlugField(source="organisation.slug")

    class Meta:
        model = AutoRecharge
        fields = [
            "organisation",
            "enabled",
            "threshold_cents",
            "amount_cents",
            "cap_cents",
            "failures",
            "failure",
            "retry_at",
        ]
        # Required here although the model has a default: a rule must say whether it is on.
        extra_kwargs = {"enabled": {"required": True}}


class AutoRechargeViewSet(viewsets.ReadOnlyModelViewSet[AutoRecharge]):
    """When the kept card is charged; one rule an organisation, set by ``POST``."""

    serializer_class = AutoRechargeSerializer
    queryset = AutoRecharge.objects.all()
    filterset_class = OrganisationFilter
    lookup_field = "organisation__slug"
    lookup_url_kwarg = "organisation"

    pagination_class = NewestOrganisationFirst

    def get_queryset(self) -> QuerySet[AutoRecharge]:
        return AutoRecharge.objects.filter(
            organisation__in=organisations_seen_by(self.request)
        ).select_related("organisation")

    def create(self, request: Request) -> Response:
        """Set the rule of an organisation."""
        wanted = self.get_serializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        values = dict(wanted.validated_data)
        slug = values.pop("organisation")["slug"]
        organisation = organisation_acted_for(request, slug, Permission.MONEY)
        rule = auto_recharge_set(organisation=organisation, changed_by=_person(request), **values)
        return Response(self.get_serializer(rule).data)


class GrantSerializer(serializers.ModelSerializer[StaffTransfer]):
    id = serializers.IntegerField(source="transfer_id", read_only=True)
    organisation = serializers.SlugRelatedField("slug", queryset=Organisation.objects.all())
    kind = serializers.CharField(source="transfer.kind", read_only=True)
    amount_nano = serializers.IntegerField(source="transfer.amount_nano", min_value=1)

    class Meta:
        model = StaffTransfer
        fields = ["id", "organisation", "kind", "amount_nano", "reason"]


class GrantViewSet(mixins.CreateModelMixin, viewsets.ReadOnlyModelViewSet[StaffTransfer]):
    """What staff gave to the caller's organisations: credit, and debts written off."""

    serializer_class = GrantSerializer
    queryset = StaffTransfer.objects.all()
    filterset_class = OrganisationFilter
    pagination_class = NewestTransferFirst

    def get_queryset(self) -> QuerySet[StaffTransfer]:
        return StaffTransfer.objects.filter(
            organisation__in=organisations_seen_by(self.request),
            transfer__kind__in=[TransferKind.GRANT, TransferKind.WRITE_OFF],
        ).select_related("organisation", "transfer")

    @extend_schema(parameters=[IDEMPOTENCY_KEY])
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Give credit; the same ``Idempotency-Key`` gives once."""
        return super().create(request, *args, **kwargs)

    def perform_create(self, serializer: serializers.BaseSerializer[StaffTransfer]) -> None:
        values = serializer.validated_data
        serializer.instance = grant_order(
            idem_key=_idem_key(self.request),
            organisation=values["organisation"],
            amount_nano=values["transfer"]["amount_nano"],
            reason=values["reason"],
            ordered_by=_staff(self.request),
        )


def _person(request: Request) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied("Payments are made by a person, not by a key.")
    return request.user


def _idem_key(request: Request) -> str:
    idem_key: str = request.headers.get("Idempotency-Key", "")
    if len(idem_key) > IDEMPOTENCY_KEY_LENGTH_MAX:
        raise serializers.ValidationError({"Idempotency-Key": "It is too long."})
    return idem_key


def _staff(request: Request) -> User:
    user = _person(request)
    if not user.is_staff:
        raise PermissionDenied("This is for the platform's staff.")
    return user

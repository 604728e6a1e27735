"""The ledger over the management API: read-only, and only the caller's side of it."""

from typing import Any

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import organisations_seen_by
from marketplace.accounts.api import OrganisationFilter
from marketplace.billing.models import Account, Transfer


class AccountSerializer(serializers.ModelSerializer[Account]):
    organisation = serializers.CharField(source="organisation.slug", read_only=True)
    available_nano = serializers.IntegerField(read_only=True)
    owed_nano = serializers.IntegerField(read_only=True)

    class Meta:
        model = Account
        fields = [
            "id",
            "kind",
            "organisation",
            "currency",
            "posted_nano",
            "held_nano",
            "available_nano",
            "owed_nano",
        ]


class AccountViewSet(viewsets.ReadOnlyModelViewSet[Account]):
    """Prepaid accounts, in nano-USD."""

    serializer_class = AccountSerializer
    queryset = Account.objects.all()
    filterset_class = OrganisationFilter

    def get_queryset(self) -> QuerySet[Account]:
        owed = Coalesce(-F("organisation__debt_account__posted_nano"), 0)
        return (
            Account.objects.filter(organisation__in=organisations_seen_by(self.request))
            .annotate(owed_nano=owed)
            .select_related("organisation")
        )

    @extend_schema(
        parameters=[OpenApiParameter("organisation", str, required=True)],
        responses=AccountSerializer,
        filters=False,
    )
    @action(detail=False, pagination_class=None, filterset_class=None)
    def balance(self, request: Request) -> Response:
        """The balance of one organisation."""
        slug = request.query_params.get("organisation", "")
        account = self.get_queryset().filter(organisation__slug=slug).first()
        if account is None:
            raise NotFound(f"You belong to no organisation {slug!r}.")
        return Response(self.get_serializer(account).data)


class TransferSerializer(serializers.ModelSerializer[Transfer]):
    """``debit`` and ``credit`` are account ids."""

    class Meta:
        model = Transfer
        fields = ["id", "kind", "debit", "credit", "amount_nano", "request_id", "created_at"]


class TransferFilter(filters.FilterSet):
    created_after = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Transfer
        fields = ["kind", "request_id"]


class TransferViewSet(viewsets.ReadOnlyModelViewSet[Any]):
    """Money in and out of the caller's accounts. A row is never changed or deleted."""

    serializer_class = TransferSerializer
    queryset = Transfer.objects.all()
    filterset_class = TransferFilter

    def get_queryset(self) -> QuerySet[Transfer]:
        accounts = Account.objects.filter(organisation__in=organisations_seen_by(self.request))
        own = accounts.order_by().values("pk")
        return Transfer.objects.filter(Q(debit__in=own) | Q(credit__in=own))

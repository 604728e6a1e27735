"""Requests for credit over the management API; staff answer them on their page."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status, viewsets
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import organisation_acted_for, organisations_seen_by
from marketplace.accounts.api import OrganisationFilter
from marketplace.accounts.models import User
from marketplace.accounts.permissions import Permission
from marketplace.billing.credit.models import CreditRequest
from marketplace.billing.credit.services import credit_request


class CreditRequestSerializer(serializers.ModelSerializer[CreditRequest]):
    organisation = serializers.SlugField(source="organisation.slug")

    class Meta:
        model = CreditRequest
        fields = [
            "id",
            "organisation",
            "amount_cents",
            "reason",
            "state",
            "created_at",
            "answered_at",
        ]
        read_only_fields = ["id", "state", "created_at", "answered_at"]


class CreditRequestViewSet(viewsets.ReadOnlyModelViewSet[CreditRequest]):
    """Credit that the caller's organisations asked the platform's staff for, and the answers."""

    serializer_class = CreditRequestSerializer
    queryset = CreditRequest.objects.all()
    filterset_class = OrganisationFilter

    def get_queryset(self) -> QuerySet[CreditRequest]:
        return CreditRequest.objects.filter(
            organisation__in=organisations_seen_by(self.request)
        ).select_related("organisation")

    @extend_schema(responses={201: CreditRequestSerializer})
    def create(self, request: Request) -> Response:
        """Ask for credit. One request of an organisation waits at a time."""
        wanted = self.get_serializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        values: dict[str, Any] = wanted.validated_data
        organisation = organisation_acted_for(
            request, values["organisation"]["slug"], Permission.MONEY
        )
        if not isinstance(request.user, User):
            raise PermissionDenied("Credit is asked for by a person, not by a key.")
        made = credit_request(
            organisation=organisation,
            amount_cents=values["amount_cents"],
            reason=values["reason"],
            requested_by=request.user,
        )
        return Response(self.get_serializer(made).data, status.HTTP_201_CREATED)

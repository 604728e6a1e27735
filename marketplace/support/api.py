"""The support view over the management API, for the platform's staff; each look is kept."""

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import StaffOnly
from marketplace.accounts.api import MembershipSerializer
from marketplace.accounts.models import Organisation, User
from marketplace.keys.api import ApiKeySerializer
from marketplace.support import selectors
from marketplace.support.models import Look, LookKind
from marketplace.support.services import look_record
from marketplace.usage.api import CandidatesField


class SearchSerializer(serializers.Serializer[Any]):
    q = serializers.CharField(max_length=selectors.QUERY_CHARACTERS, min_length=2)


class HitSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField()
    text = serializers.CharField()
    detail = serializers.CharField()
    organisation = serializers.CharField()
    request_id = serializers.UUIDField(allow_null=True)
    user_id = serializers.IntegerField(allow_null=True)


class SupportCallSerializer(serializers.Serializer[Any]):
    request_id = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    model = serializers.CharField()
    outcome = serializers.CharField()
    http_status = serializers.IntegerField()
    worker_id = serializers.CharField()
    total_ms = serializers.FloatField()
    charge_nano = serializers.IntegerField()
    attempts = serializers.JSONField()
    candidates = CandidatesField()


class SupportBudgetSerializer(serializers.Serializer[Any]):
    of = serializers.CharField(source="budget")
    limit_nano = serializers.IntegerField(source="budget.limit_nano")
    spent_nano = serializers.IntegerField()
    held_nano = serializers.IntegerField()
    left_nano = serializers.IntegerField()


class SupportPaymentSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(source="payment.id")
    purpose = serializers.CharField(source="payment.purpose")
    state = serializers.CharField(source="payment.state")
    amount_cents = serializers.IntegerField(source="payment.amount_cents")
    created_at = serializers.DateTimeField(source="payment.created_at")


class AuditSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    who = serializers.CharField()
    what = serializers.CharField()
    of = serializers.CharField()
    fields_changed = serializers.CharField(source="fields")


class CustomerSerializer(serializers.Serializer[Any]):
    slug = serializers.CharField(source="organisation.slug")
    name = serializers.CharField(source="organisation.name")
    posted_nano = serializers.IntegerField(source="account.posted_nano", default=0)
    held_nano = serializers.IntegerField(source="account.held_nano", default=0)
    leased_nano = serializers.IntegerField()
    members = MembershipSerializer(many=True)
    keys = ApiKeySerializer(many=True)
    budgets = SupportBudgetSerializer(many=True)
    calls = SupportCallSerializer(many=True)
    failed = SupportCallSerializer(many=True)
    payments = SupportPaymentSerializer(many=True)
    audit = AuditSerializer(many=True)


class SupportViewSet(viewsets.ViewSet):
    """Find a customer, and see what is theirs without acting as them. Read-only, and recorded."""

    permission_classes = [StaffOnly]
    lookup_field = "slug"
    lookup_value_regex = "[-a-zA-Z0-9_]+"

    @extend_schema(request=SearchSerializer, responses={200: HitSerializer(many=True)})
    def create(self, request: Request) -> Response:
        """Search. A key in ``q`` is looked up by its digest, and neither stored nor logged."""
        asked = SearchSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        hits = selectors.search(asked.validated_data["q"])
        if hits:
            subject = ", ".join(f"{hit.kind} {hit.detail}" for hit in hits)
            look_record(staff=_staff(request), kind=LookKind.SEARCH, subject=subject)
        return Response(HitSerializer(hits, many=True).data)

    @extend_schema(responses=CustomerSerializer)
    def retrieve(self, request: Request, slug: str) -> Response:
        """What is known of one organisation."""
        row = get_object_or_404(Organisation, slug=slug)
        look_record(
            staff=_staff(request), kind=LookKind.ORGANISATION, subject=slug, organisation=slug
        )
        return Response(CustomerSerializer(selectors.customer(row)).data)


class LookSerializer(serializers.ModelSerializer[Look]):
    class Meta:
        model = Look
        fields = ["id", "at", "staff", "kind", "subject", "organisation"]


class LookViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Look]):
    """Views by staff of customers' data."""

    permission_classes = [StaffOnly]
    serializer_class = LookSerializer
    queryset = Look.objects.all()
    filterset_fields = ["staff", "kind", "organisation"]


def _staff(request: Request) -> User:
    return request.user  # type: ignore[return-value]  # `StaffOnly` has seen to it

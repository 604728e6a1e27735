"""Budgets over the management API."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import organisation_acted_for, organisations_seen_by
from marketplace.accounts.api import OrganisationFilter
from marketplace.accounts.models import ApiKey, Organisation, User
from marketplace.accounts.permissions import Permission
from marketplace.billing.budgets.selectors import budget_state, permission_over_budget
from marketplace.billing.budgets.services import budget_remove, budget_set
from marketplace.billing.models import Budget, Window
from marketplace.shared.known_fields import KnownFieldsOnly


class BudgetChangeSerializer(KnownFieldsOnly, serializers.ModelSerializer[Budget]):
    class Meta:
        model = Budget
        fields = ["limit_nano", "window"]
        extra_kwargs = {"limit_nano": {"min_value": 0}}


class BudgetSerializer(serializers.ModelSerializer[Budget]):
    """Of a key (its id), of a member (their address), or with neither of the organisation."""

    organisation = serializers.SlugField()
    member = serializers.EmailField(required=False, allow_null=True)
    key = serializers.IntegerField(required=False, allow_null=True)
    spent_nano = serializers.IntegerField(read_only=True)
    held_nano = serializers.IntegerField(read_only=True)
    left_nano = serializers.IntegerField(read_only=True)
    resets_at = serializers.DateTimeField(read_only=True, allow_null=True)

    class Meta:
        model = Budget
        fields = [
            "id",
            "organisation",
            "member",
            "key",
            "limit_nano",
            "window",
            "spent_nano",
            "held_nano",
            "left_nano",
            "resets_at",
        ]
        extra_kwargs = {"limit_nano": {"min_value": 0}}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("member") and attrs.get("key"):
            raise serializers.ValidationError("A budget is of a member or of a key, not of both.")
        return attrs

    def to_representation(self, instance: Budget) -> dict[str, Any]:
        state = budget_state(instance, now=timezone.now())
        return {
            "id": instance.pk,
            "organisation": instance.organisation.slug,
            "member": instance.user.email if instance.user else None,
            "key": instance.key_id,
            "limit_nano": instance.limit_nano,
            "window": instance.window,
            "spent_nano": state.spent_nano,
            "held_nano": state.held_nano,
            "left_nano": state.left_nano,
            "resets_at": state.resets_at,
        }


class BudgetViewSet(
    mixins.CreateModelMixin, mixins.DestroyModelMixin, viewsets.ReadOnlyModelViewSet[Budget]
):
    """Caps on spending, in nano-USD. Setting one that is there changes it.

    Owners, admins and the role ``billing`` set those of the organisation and its members; whoever
    may change a key may set the key's.
    """

    serializer_class = BudgetSerializer
    queryset = Budget.objects.all()
    filterset_class = OrganisationFilter

    def get_queryset(self) -> QuerySet[Budget]:
        return Budget.objects.filter(
            organisation__in=organisations_seen_by(self.request)
        ).select_related("organisation", "user", "key")

    def perform_create(self, serializer: serializers.BaseSerializer[Budget]) -> None:
        values = serializer.validated_data
        slug, key_id, email = values["organisation"], values.get("key"), values.get("member")
        organisation = organisation_acted_for(
            self.request, slug, Permission.MONEY if key_id is None else Permission.KEYS
        )
        key = None if key_id is None else _key(organisation, key_id)
        organisation_acted_for(self.request, slug, permission_over_budget(key))
        serializer.instance = budget_set(
            organisation=organisation,
            user=_member(organisation, email) if email else None,
            key=key,
            limit_nano=values["limit_nano"],
            window=Window(values.get("window", Window.MONTH)),
        )

    @extend_schema(request=BudgetChangeSerializer, responses=BudgetSerializer)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change a budget's limit or window."""
        budget = self._changeable()
        wanted = BudgetChangeSerializer(budget, data=request.data, partial=True)
        wanted.is_valid(raise_exception=True)
        changed = budget_set(
            organisation=budget.organisation,
            user=budget.user,
            key=budget.key,
            limit_nano=wanted.validated_data.get("limit_nano", budget.limit_nano),
            window=Window(wanted.validated_data.get("window", budget.window)),
        )
        return Response(BudgetSerializer(changed).data)

    def perform_destroy(self, instance: Budget) -> None:
        budget_remove(budget=self._changeable())

    def _changeable(self) -> Budget:
        budget: Budget = self.get_object()
        organisation_acted_for(
            self.request, budget.organisation.slug, permission_over_budget(budget.key)
        )
        return budget


def _key(organisation: Organisation, key_id: int) -> ApiKey:
    key = organisation.api_keys.filter(pk=key_id).first()
    if key is None:
        raise serializers.ValidationError({"key": "The organisation has no such key."})
    return key


def _member(organisation: Organisation, email: str) -> User:
    user = organisation.members.filter(email__iexact=email).first()
    if user is None:
        raise serializers.ValidationError({"member": "The organisation has no such member."})
    return user

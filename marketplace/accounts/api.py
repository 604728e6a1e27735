"""Organisations, members, keys and session tokens over the management API."""

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from marketplace.accounts.access import organisation_acted_for, organisations_seen_by
from marketplace.accounts.models import (
    KEY_ROLES,
    LIMIT_FIELDS,
    MEMBER_ROLES,
    ApiKey,
    Membership,
    Organisation,
    Role,
    Scope,
    User,
)
from marketplace.accounts.services import (
    api_key_create,
    api_key_revoke,
    api_key_update,
    member_remove,
    member_set,
    organisation_create,
    session_token_issue,
)


class OrganisationFilter(filters.FilterSet):
    """``?organisation=slug`` for whatever belongs to one."""

    organisation = filters.CharFilter(field_name="organisation__slug")


class OrganisationSerializer(serializers.ModelSerializer[Organisation]):
    class Meta:
        model = Organisation
        fields = ["id", "slug", "name", *LIMIT_FIELDS, "created_at"]
        # The platform's limits on an organisation are not its own to change; those of keys are.
        read_only_fields = ["id", *LIMIT_FIELDS, "created_at"]


class OrganisationViewSet(mixins.CreateModelMixin, viewsets.ReadOnlyModelViewSet[Organisation]):
    """The caller's organisations. Whoever creates one owns it."""

    serializer_class = OrganisationSerializer
    queryset = Organisation.objects.all()
    lookup_field = "slug"

    def get_queryset(self) -> QuerySet[Organisation]:
        return organisations_seen_by(self.request)

    def perform_create(self, serializer: serializers.BaseSerializer[Organisation]) -> None:
        if not isinstance(self.request.user, User):
            raise PermissionDenied("An organisation needs a person as its owner.")
        serializer.instance = organisation_create(
            owner=self.request.user, **serializer.validated_data
        )


class MembershipSerializer(serializers.ModelSerializer[Membership]):
    organisation = serializers.SlugField()
    email = serializers.EmailField(source="user.email")

    class Meta:
        model = Membership
        fields = ["id", "organisation", "email", "role", "created_at"]
        read_only_fields = ["id", "created_at"]

    def to_representation(self, instance: Membership) -> dict[str, Any]:
        return {**super().to_representation(instance), "organisation": instance.organisation.slug}


class RoleSerializer(serializers.Serializer[Any]):
    role = serializers.ChoiceField(Role.choices)


class MembershipViewSet(
    mixins.CreateModelMixin, mixins.DestroyModelMixin, viewsets.ReadOnlyModelViewSet[Membership]
):
    """Members of the caller's organisations. Owners and admins change them."""

    serializer_class = MembershipSerializer
    queryset = Membership.objects.all()
    filterset_class = OrganisationFilter

    def get_queryset(self) -> QuerySet[Membership]:
        return Membership.objects.filter(
            organisation__in=organisations_seen_by(self.request)
        ).select_related("organisation", "user")

    def perform_create(self, serializer: serializers.BaseSerializer[Membership]) -> None:
        values = serializer.validated_data
        organisation = organisation_acted_for(self.request, values["organisation"], MEMBER_ROLES)
        user = User.objects.filter(email__iexact=values["user"]["email"]).first()
        if user is None:
            raise serializers.ValidationError({"email": "Nobody has signed up with this address."})
        role = Role(values.get("role", Role.DEVELOPER))
        self._only_owners_make_owners(organisation, role)
        serializer.instance = member_set(organisation=organisation, user=user, role=role)

    @extend_schema(request=RoleSerializer, responses=MembershipSerializer)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change a member's role."""
        membership = self.get_object()
        wanted = RoleSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        role = Role(wanted.validated_data["role"])
        organisation_acted_for(request, membership.organisation.slug, MEMBER_ROLES)
        self._only_owners_make_owners(membership.organisation, role, membership)
        changed = member_set(organisation=membership.organisation, user=membership.user, role=role)
        return Response(self.get_serializer(changed).data)

    def perform_destroy(self, instance: Membership) -> None:
        organisation_acted_for(self.request, instance.organisation.slug, MEMBER_ROLES)
        self._only_owners_make_owners(instance.organisation, Role.VIEWER, instance)
        member_remove(membership=instance)

    def _only_owners_make_owners(
        self, organisation: Organisation, role: Role, existing: Membership | None = None
    ) -> None:
        # Else an admin could take an organisation from its owner.
        if role == Role.OWNER or (existing is not None and existing.role == Role.OWNER):
            organisation_acted_for(self.request, organisation.slug, {Role.OWNER})


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    organisation = serializers.SlugField()
    status = serializers.CharField(read_only=True)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(Scope.choices), required=False, min_length=1
    )
    models_allowed = serializers.ListField(
        child=serializers.CharField(max_length=120), required=False
    )

    class Meta:
        model = ApiKey
        fields = [
            "id",
            "organisation",
            "name",
            "masked",
            "scopes",
            "models_allowed",
            *LIMIT_FIELDS,
            "status",
            "created_at",
            "expires_at",
            "disabled_at",
            "last_used_at",
        ]
        read_only_fields = ["masked", "created_at", "disabled_at", "last_used_at"]

    def to_representation(self, instance: ApiKey) -> dict[str, Any]:
        return {**super().to_representation(instance), "organisation": instance.organisation.slug}


class ApiKeyChangeSerializer(serializers.ModelSerializer[ApiKey]):
    models_allowed = serializers.ListField(
        child=serializers.CharField(max_length=120), required=False
    )

    class Meta:
        model = ApiKey
        fields = ["name", "models_allowed", "expires_at", *LIMIT_FIELDS]


class ApiKeyCreatedSerializer(ApiKeySerializer):
    key = serializers.CharField(read_only=True, help_text="Shown this once.")

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]


class ApiKeyViewSet(mixins.DestroyModelMixin, viewsets.ReadOnlyModelViewSet[ApiKey]):
    """Keys of the caller's organisations. Deleting one revokes it; it stays on record."""

    serializer_class = ApiKeySerializer
    queryset = ApiKey.objects.all()
    filterset_class = OrganisationFilter

    def get_queryset(self) -> QuerySet[ApiKey]:
        return ApiKey.objects.filter(
            organisation__in=organisations_seen_by(self.request)
        ).select_related("organisation")

    @extend_schema(request=ApiKeySerializer, responses={201: ApiKeyCreatedSerializer})
    def create(self, request: Request) -> Response:
        """Make a key; the answer carries it, once."""
        wanted = ApiKeySerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        values = dict(wanted.validated_data)
        slug = values.pop("organisation")
        organisation = organisation_acted_for(request, slug, KEY_ROLES)
        if Scope.MANAGEMENT in values.get("scopes", ()):
            # A management key speaks for the organisation: not for a developer, or another key.
            organisation_acted_for(request, slug, MEMBER_ROLES)
        user = request.user if isinstance(request.user, User) else None
        row, key = api_key_create(organisation=organisation, created_by=user, **values)
        shown = {**ApiKeySerializer(row).data, "key": key}
        return Response(shown, status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})

    @extend_schema(request=ApiKeyChangeSerializer, responses=ApiKeySerializer)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change a key's name, models, expiry or limits; null takes a limit away."""
        api_key = self.get_object()
        wanted = ApiKeyChangeSerializer(api_key, data=request.data, partial=True)
        wanted.is_valid(raise_exception=True)
        organisation_acted_for(request, api_key.organisation.slug, KEY_ROLES)
        if Scope.MANAGEMENT in api_key.scopes:
            organisation_acted_for(request, api_key.organisation.slug, MEMBER_ROLES)
        changed = api_key_update(api_key=api_key, **wanted.validated_data)
        return Response(ApiKeySerializer(changed).data)

    def perform_destroy(self, instance: ApiKey) -> None:
        organisation_acted_for(self.request, instance.organisation.slug, KEY_ROLES)
        api_key_revoke(api_key=instance)


class SessionTokenRequestSerializer(serializers.Serializer[Any]):
    organisation = serializers.SlugField(
        required=False, help_text="Needed by members of several organisations."
    )


class SessionTokenSerializer(serializers.Serializer[Any]):
    token = serializers.CharField()
    expires_at = serializers.DateTimeField()
    router_url = serializers.URLField()


class SessionTokenView(APIView):
    """A bearer with which a signed-in browser calls the router for ten minutes."""

    @extend_schema(
        operation_id="session_token_create",
        request=SessionTokenRequestSerializer,
        responses={201: SessionTokenSerializer},
    )
    def post(self, request: Request) -> Response:
        wanted = SessionTokenRequestSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        if not isinstance(request.user, User):
            raise PermissionDenied("Session tokens are for signed-in people; a key is a bearer.")
        slug = wanted.validated_data.get("organisation") or self._only_organisation(request)
        # Whoever may create keys may call models; the others only look.
        organisation = organisation_acted_for(request, slug, KEY_ROLES)
        token, expires_at_s = session_token_issue(user=request.user, organisation=organisation)
        shown = SessionTokenSerializer(
            {
                "token": token,
                "expires_at": datetime.fromtimestamp(expires_at_s, UTC),
                "router_url": settings.SWITCHYARD_ROUTER_URL,
            }
        )
        return Response(shown.data, status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})

    def _only_organisation(self, request: Request) -> str:
        slugs = list(organisations_seen_by(request).values_list("slug", flat=True)[:2])
        if len(slugs) != 1:
            raise serializers.ValidationError(
                {"organisation": "Say which of your organisations pays."}
            )
        return slugs[0]

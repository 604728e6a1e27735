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
from marketplace.accounts.invitations.services import invitation_create
from marketplace.accounts.models import (
    LIMIT_FIELDS,
    Invitation,
    Membership,
    Organisation,
    Role,
    User,
)
from marketplace.accounts.permissions import Permission, permission_over_member
from marketplace.accounts.services import (
    member_remove,
    member_set,
    organisation_found,
    organisation_rename,
    session_token_issue,
)
from marketplace.accounts.sessions.ended import TOKENS_UNTIL
from marketplace.shared.known_fields import KnownFieldsOnly


class OrganisationFilter(filters.FilterSet):
    """``?organisation=slug`` for whatever belongs to one."""

    organisation = filters.CharFilter(field_name="organisation__slug")


class OrganisationSerializer(serializers.ModelSerializer[Organisation]):
    class Meta:
        model = Organisation
        fields = ["id", "slug", "name", *LIMIT_FIELDS, "created_at"]
        # The platform's limits on an organisation are not its own to change; those of keys are.
        read_only_fields = ["id", *LIMIT_FIELDS, "created_at"]


class RenameSerializer(KnownFieldsOnly):
    name = serializers.CharField(max_length=120)


class OrganisationViewSet(mixins.CreateModelMixin, viewsets.ReadOnlyModelViewSet[Organisation]):
    """The caller's organisations. Its creator owns an organisation."""

    serializer_class = OrganisationSerializer
    queryset = Organisation.objects.all()
    lookup_field = "slug"

    def get_queryset(self) -> QuerySet[Organisation]:
        return organisations_seen_by(self.request)

    def perform_create(self, serializer: serializers.BaseSerializer[Organisation]) -> None:
        if not isinstance(self.request.user, User):
            raise PermissionDenied("An organisation needs a person as its owner.")
        serializer.instance = organisation_found(
            owner=self.request.user, **serializer.validated_data
        )

    @extend_schema(request=RenameSerializer, responses=OrganisationSerializer)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Rename it; the slug stays."""
        organisation = self.get_object()
        wanted = RenameSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        organisation_acted_for(request, organisation.slug, Permission.ORGANISATION)
        organisation_rename(organisation=organisation, name=wanted.validated_data["name"])
        return Response(self.get_serializer(organisation).data)


class MembershipSerializer(serializers.ModelSerializer[Membership]):
    organisation = serializers.SlugField()
    email = serializers.EmailField(source="user.email")

    class Meta:
        model = Membership
        fields = ["id", "organisation", "email", "role", "created_at"]
        read_only_fields = ["id", "created_at"]

    def to_representation(self, instance: Membership) -> dict[str, Any]:
        return {**super().to_representation(instance), "organisation": instance.organisation.slug}


class RoleSerializer(KnownFieldsOnly):
    role = serializers.ChoiceField(Role.choices)


class InvitedSerializer(serializers.ModelSerializer[Invitation]):
    """An invitation that is on its way."""

    organisation = serializers.SlugField(source="organisation.slug")
    status = serializers.CharField(read_only=True)

    class Meta:
        model = Invitation
        fields = ["id", "organisation", "email", "role", "status", "created_at", "expires_at"]
        read_only_fields = fields


class MembershipViewSet(mixins.DestroyModelMixin, viewsets.ReadOnlyModelViewSet[Membership]):
    """Members of the caller's organisations. Owners and admins invite, change and remove them."""

    serializer_class = MembershipSerializer
    queryset = Membership.objects.all()
    filterset_class = OrganisationFilter

    def get_queryset(self) -> QuerySet[Membership]:
        return Membership.objects.filter(
            organisation__in=organisations_seen_by(self.request)
        ).select_related("organisation", "user")

    @extend_schema(request=MembershipSerializer, responses={201: InvitedSerializer})
    def create(self, request: Request) -> Response:
        """Invite an address. Nobody joins without consent, and nobody learns who has signed up.

        It is what `POST invitations` does.
        """
        wanted = self.get_serializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        values = wanted.validated_data
        role = Role(values.get("role", Role.DEVELOPER))
        invitation = invitation_create(
            organisation=self._demand_over(values["organisation"], role),
            email=values["user"]["email"],
            role=role,
            invited_by=request.user if isinstance(request.user, User) else None,
        )
        return Response(InvitedSerializer(invitation).data, status.HTTP_201_CREATED)

    @extend_schema(request=RoleSerializer, responses=MembershipSerializer)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change a member's role."""
        membership = self.get_object()
        wanted = RoleSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        role = Role(wanted.validated_data["role"])
        self._demand_over(membership.organisation.slug, membership.role, role)
        changed = member_set(organisation=membership.organisation, user=membership.user, role=role)
        return Response(self.get_serializer(changed).data)

    def perform_destroy(self, instance: Membership) -> None:
        self._demand_over(instance.organisation.slug, instance.role)
        member_remove(membership=instance)

    def _demand_over(self, slug: str, *roles: str) -> Organisation:
        organisation_acted_for(self.request, slug, Permission.MEMBERS)
        return organisation_acted_for(self.request, slug, permission_over_member(*roles))


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
        organisation = organisation_acted_for(request, slug, Permission.CALL)
        token, expires_at_s = session_token_issue(
            user=request.user,
            organisation=organisation,
            session_key=request.session.session_key or "",
        )
        request.session[TOKENS_UNTIL] = expires_at_s
        shown = SessionTokenSerializer(
            {
                "token": token,
                "expires_at": datetime.fromtimestamp(expires_at_s, UTC),
                "router_url": settings.WAYPOST_ROUTER_URL,
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

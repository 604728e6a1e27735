"""Agents call with their own credential, which opens nothing else."""

from django.contrib.auth.models import AnonymousUser
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from marketplace.agents.models import Agent
from marketplace.agents.tokens import agent_of_credential


class AgentAuthentication(BaseAuthentication):
    """``Authorization: Bearer wp_agent_…``; ``request.auth`` is then the :class:`Agent`."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Agent] | None:
        words = get_authorization_header(request).split()
        if len(words) != 2 or words[0].lower() != b"bearer":
            return None
        agent = agent_of_credential(words[1].decode("latin-1"))
        if agent is None:
            raise AuthenticationFailed("This credential is of no agent, or of a revoked one.")
        return AnonymousUser(), agent

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class AgentsOnly(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.auth, Agent)


class AgentScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = AgentAuthentication
    name = "agentCredential"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "wp_agent_…"}

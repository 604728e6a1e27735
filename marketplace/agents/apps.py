from django.apps import AppConfig


class AgentsConfig(AppConfig):
    name = "marketplace.agents"
    label = "agents"

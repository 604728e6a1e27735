from django.apps import AppConfig


class PlanningConfig(AppConfig):
    name = "marketplace.planning"
    label = "planning"

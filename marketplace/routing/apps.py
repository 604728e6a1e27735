from django.apps import AppConfig


class RoutingConfig(AppConfig):
    name = "marketplace.routing"
    label = "routing"

from django.apps import AppConfig


class SupportConfig(AppConfig):
    name = "marketplace.support"
    label = "support"

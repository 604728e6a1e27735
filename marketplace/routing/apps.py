from django.apps import AppConfig


class RoutingConfig(AppConfig):
    name = "marketplace.routing"
    label = "routing"

    def ready(self) -> None:
        from marketplace.routing import receivers  # noqa: F401 - registers itself

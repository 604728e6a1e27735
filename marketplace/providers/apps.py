from django.apps import AppConfig


class ProvidersConfig(AppConfig):
    name = "marketplace.providers"

    def ready(self) -> None:
        from marketplace.providers import receivers  # noqa: F401 - registers itself

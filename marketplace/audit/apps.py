from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "marketplace.audit"
    label = "audit"

    def ready(self) -> None:
        # Django itself reads an app's own `models` only.
        import marketplace.routing.tuning.models  # noqa: F401
        from marketplace.audit.registry import register_all

        register_all()

from django.apps import AppConfig


class BenchmarksConfig(AppConfig):
    name = "marketplace.benchmarks"
    label = "benchmarks"

    def ready(self) -> None:
        from marketplace.benchmarks import receivers  # noqa: F401 - registers itself

from django.apps import AppConfig


class TuningConfig(AppConfig):
    name = "marketplace.tuning"
    label = "tuning"

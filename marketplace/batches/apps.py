from django.apps import AppConfig


class BatchesConfig(AppConfig):
    name = "marketplace.batches"
    label = "batches"

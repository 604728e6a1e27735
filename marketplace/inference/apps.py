from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "marketplace.inference"
    label = "inference"

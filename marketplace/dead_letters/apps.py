from django.apps import AppConfig


class DeadLettersConfig(AppConfig):
    name = "marketplace.dead_letters"
    label = "dead_letters"

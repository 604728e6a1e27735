"""The Django app that carries the commands `up`, `down` and `status`."""

from django.apps import AppConfig


class LocalConfig(AppConfig):
    """No models: the stack's state lives in files."""

    name = "deploy.local"
    label = "local"

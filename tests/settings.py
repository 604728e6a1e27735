"""The product's settings, but a password takes no tenth of a second to hash."""

from marketplace.config.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

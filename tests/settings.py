"""The product's settings, but a password takes no tenth of a second to hash, and static files are
looked for when they are asked for: each test's client has its own middleware to find them.
"""

from marketplace.config.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_AUTOREFRESH = True

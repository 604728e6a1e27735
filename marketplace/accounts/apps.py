from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "marketplace.accounts"
    label = "accounts"

    def ready(self) -> None:
        from marketplace.accounts import checks  # noqa: F401 - registers itself
        from marketplace.accounts.invitations import ended as ended_invitations
        from marketplace.accounts.sessions import ended as ended_sessions

        ended_sessions.connect()
        ended_invitations.connect()

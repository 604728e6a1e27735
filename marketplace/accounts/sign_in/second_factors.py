"""Adapts allauth's second factors: what the database keeps of them."""

from allauth.mfa.adapter import DefaultMFAAdapter

from marketplace.shared.sealing import Purpose, is_envelope, vault


class SecondFactorAdapter(DefaultMFAAdapter):
    def encrypt(self, text: str) -> str:
        """Seal the seed of an authenticator app or of recovery codes."""
        return vault(Purpose.SECOND_FACTORS).seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        """The seed again. One stored before seeds were sealed is readable as it is."""
        if not is_envelope(encrypted_text):
            return encrypted_text
        return vault(Purpose.SECOND_FACTORS).open(encrypted_text)

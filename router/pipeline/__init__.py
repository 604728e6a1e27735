"""The steps that every call goes through; ``gateway`` runs them in order."""

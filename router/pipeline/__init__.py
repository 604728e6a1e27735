"""The steps that every call goes through, one file each; ``gateway`` runs them in order."""

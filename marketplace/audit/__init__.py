"""The audit log: who changed what, when. django-auditlog writes one entry a change."""

"""Who changed what, when: one entry for each change of what matters, kept by django-auditlog."""

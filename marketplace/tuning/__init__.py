"""The feedback loop: it turns telemetry into profiles, proposals and self-ending trials."""

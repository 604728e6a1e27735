"""The feedback loop: telemetry into profiles, proposals, trials that end by themselves."""

"""What recorded calls would have met under another policy, fleet or price."""

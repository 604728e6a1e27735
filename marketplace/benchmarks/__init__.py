"""What was measured: the expected service time of a deployment."""

"""What a call would cost at each provider."""

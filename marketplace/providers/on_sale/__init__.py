"""What a provider sells: its price, its traffic and health, and the calls that it lost."""

"""What another policy, fleet or price would have made of what came."""

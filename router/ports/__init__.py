"""What the router needs from the outside world, as protocols that adapters implement."""

"""How requests are placed: policies, and the snapshot that the router reads."""

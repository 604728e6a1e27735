"""Finding a fleet: integer programming, queueing theory, and a check in the simulator. Pure."""

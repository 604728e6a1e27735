"""``waypost``: the command line. It uses the client of this package and nothing else."""

"""Work beside the path of a call: what the clock starts, in which queue."""

"""Work beside the path of a call: what people asked for, what the clock starts, in which queue."""

"""Work apart from the path of a call: requested jobs, periodic tasks, and their queues."""

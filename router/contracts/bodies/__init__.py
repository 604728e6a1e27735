"""What calls carry: forms, and the parts that the router reads of workers' answers."""

"""What does the work: inference backends, and the job processes of the control plane."""

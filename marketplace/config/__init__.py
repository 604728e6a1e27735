"""Settings, URL roots and what stands before and around every app of the control plane."""

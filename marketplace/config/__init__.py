"""Settings, URL roots, middleware and error answers of the control plane."""

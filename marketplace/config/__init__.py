"""Settings, URL roots and the pieces shared by every app of the control plane."""

"""What each request passes on its way to a view."""

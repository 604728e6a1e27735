"""The documentation as a site, which the pages' server has at `/docs`."""

"""Models of the storefront, for Django."""

from marketplace.storefront.landing.models import LandingReplay as LandingReplay

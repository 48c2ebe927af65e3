"""Long-running supervision: what a collector says to those who watch over it."""

from overround.services.endpoint import Endpoint
from overround.services.health import Health, VenueHealth, judge

__all__ = ["Endpoint", "Health", "VenueHealth", "judge"]

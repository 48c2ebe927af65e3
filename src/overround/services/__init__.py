"""Long-running supervision: what a collector says to those who watch over it."""

from overround.services.endpoint import Endpoint
from overround.services.health import Health, VenueHealth, judge
from overround.services.notify import notify_systemd

__all__ = ["Endpoint", "Health", "VenueHealth", "judge", "notify_systemd"]

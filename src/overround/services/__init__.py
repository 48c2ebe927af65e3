"""Long-running supervision: what a collector says to those who watch over it."""

from overround.services.detail import CollectorDetail, Detailer
from overround.services.endpoint import Endpoint
from overround.services.health import Health, VenueHealth, judge
from overround.services.notify import notify_systemd

__all__ = ["CollectorDetail", "Detailer", "Endpoint", "Health", "VenueHealth", "judge", "notify_systemd"]

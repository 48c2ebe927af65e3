"""Recording order books: connections, rotation, rows."""

from overround.collector.gaps import Gap, GapLedger
from overround.collector.recorder import VenueRecorder
from overround.collector.run import collect, run_until_signal
from overround.collector.status import VenueStatus

__all__ = ["Gap", "GapLedger", "VenueRecorder", "VenueStatus", "collect", "run_until_signal"]

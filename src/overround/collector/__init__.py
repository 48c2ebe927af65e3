"""Recording order books: connections, rotation, rows."""

from overround.collector.crew import Changes
from overround.collector.gaps import Gap, GapLedger
from overround.collector.recorder import VenueRecorder
from overround.collector.run import collect, on_hangup, run_until_signal
from overround.collector.status import VenueStatus

__all__ = ["Changes", "Gap", "GapLedger", "VenueRecorder", "VenueStatus", "collect", "on_hangup", "run_until_signal"]

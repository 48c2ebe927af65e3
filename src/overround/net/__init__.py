"""HTTP and WebSocket connections, and the manners with which they are used: pace, patience, giving up."""

from overround.net.backoff import ConnectionPacer, parse_retry_after, reconnect_delays_ms
from overround.net.breaker import BreakerState, CircuitBreaker
from overround.net.http import HttpClient, RetryPolicy, Sign, Timeouts
from overround.net.limits import Budgets, TokenBucket
from overround.net.socket import Socket
from overround.net.ws import TransportName, open_socket

__all__ = [
    "BreakerState",
    "Budgets",
    "CircuitBreaker",
    "ConnectionPacer",
    "HttpClient",
    "RetryPolicy",
    "Sign",
    "Socket",
    "Timeouts",
    "TokenBucket",
    "TransportName",
    "open_socket",
    "parse_retry_after",
    "reconnect_delays_ms",
]

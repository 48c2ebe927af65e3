"""PostgreSQL: leases. Nothing is loaded until it is used (extra ``postgres``)."""

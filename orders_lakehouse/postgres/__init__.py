"""Postgres: connections, the embedded server, and what its failures mean."""

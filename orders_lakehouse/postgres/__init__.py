"""Postgres: connections, the embedded server, and explanations of its failures."""

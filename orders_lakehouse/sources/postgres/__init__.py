"""The shop's Postgres: its columns, its row versions, what has changed, what raw lacks."""

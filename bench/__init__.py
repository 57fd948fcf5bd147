"""The benchmark: how long the lakehouse takes, where the time goes, and what it needs. Not part of it."""

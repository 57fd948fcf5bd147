"""The benchmark: the time, memory and space that the lakehouse takes. It is not part of the lakehouse."""

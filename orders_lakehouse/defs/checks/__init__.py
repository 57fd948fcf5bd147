"""Asset checks, and the storage and display of their results."""

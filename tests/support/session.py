"""The session of tests, which all workers share."""

# Variable with the folder of the session; the controller sets it, and workers inherit it.
SESSION = "PYTEST_LAKEHOUSE_SESSION"

"""Errors whose messages are complete: what was found, what was expected, and the next step."""


class ExpectedError(RuntimeError):
    """Base of failures that are no defect of the program; shown without a traceback."""


class TransientError(ExpectedError):
    """A failure that may pass; trying again may help."""


class DatabaseError(ExpectedError):
    """A database refuses a request; trying again does not help."""


class DatabaseUnavailableError(TransientError):
    """A database is unavailable at the moment; trying again may help."""

"""Failures whose message says all that there is to say: what was found, what was expected, what to do."""


class ExpectedError(RuntimeError):
    """Base of failures that are nobody's defect; shown without a traceback."""


class TransientError(ExpectedError):
    """A failure that may pass by itself; worth another try."""


class DatabaseError(ExpectedError):
    """A database does not do what is asked; trying again does not help."""


class DatabaseUnavailableError(TransientError):
    """A database cannot be reached at the moment; trying again may help."""

"""Tests, and the helpers that they share."""

import pytest

# Helpers assert, too. Pytest explains an assertion only if it knows of the module before it is imported.
pytest.register_assert_rewrite("tests.support")

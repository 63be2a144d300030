"""The command line for tests of it."""

from tests.support.terminal import millrace

__all__ = ["millrace"]

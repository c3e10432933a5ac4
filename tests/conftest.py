"""What every test gets."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from rtm_proto.gate.decisions import Visitor
from tests.hall import Hall

# How long an example takes says nothing here: pytest's own time limit guards against hanging.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")


@pytest.fixture
def hall() -> Hall:
    """A gate's decisions, with a store and a clock of its own."""
    return Hall()


@pytest.fixture
def alice(hall: Hall) -> Visitor:
    """User 1001, who is logged in there."""
    return hall.log_in(1001, "alice")


@pytest.fixture
def server() -> Visitor:
    """A visitor who has not said yet that it is a server."""
    return Visitor("server")

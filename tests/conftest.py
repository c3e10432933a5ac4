"""What every test gets."""

from __future__ import annotations

import os

from hypothesis import settings

# How long an example takes says nothing here: pytest's own time limit guards against hanging.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)  # tests must not fail on a busy machine
settings.load_profile("no-deadline")

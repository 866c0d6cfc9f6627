from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)  # tests must not fail on a busy machine
settings.load_profile("no-deadline")

# The planted-fault tests match the values that pytest writes into an assert message.
pytest.register_assert_rewrite(f"{__package__}.checks")

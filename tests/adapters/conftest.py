from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
settings.load_profile("unhurried")

# A planted fault is recognised by the values in the message that pytest writes into an assert.
pytest.register_assert_rewrite(f"{__package__}.checks")

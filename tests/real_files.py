"""Real files that this project did not make; they lie beside it and are not part of it.

A checkout alone has none of them, so the tests that read them skip there.
"""

import pytest
from real_data import DATA

needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is not there")

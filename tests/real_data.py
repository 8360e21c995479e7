"""Where real files lie that this project did not make; a checkout alone has none."""

from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

"""stub"""

from __future__ import annotations
from typing import Any, NamedTuple
import numpy as np


class Region(NamedTuple):
    low: float = -1e9
    high: float = 1e9

    def block(self, low: Any, high: Any) -> Any:
        found = np.ones([b - a for a, b in zip(low, high)], bool)
        z = np.arange(low[0], high[0])
        found[(z < self.low) | (z > self.high)] = False
        return found


def region_of(region: Any, shape: Any, scale: float, name: str = "region") -> Region:
    return Region() if region is None else Region(region[0] / scale, region[1] / scale)

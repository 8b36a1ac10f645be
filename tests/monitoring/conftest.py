"""What the streaming tests share is theirs to drive a store with, here too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "online"))

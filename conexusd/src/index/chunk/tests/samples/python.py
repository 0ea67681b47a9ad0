#!/usr/bin/env python3
"""Module doc."""
from __future__ import annotations

import os, sys as system
import xml.etree.ElementTree as ET
from . import sibling
from .util import first, second as other
from typing import *

MAX_SIZE = 10
low, high = 1, 2
type Pair = tuple[int, int]


@dataclass(frozen=True)
class Shape(Base, metaclass=Meta):
    """A shape."""

    sides = 3
    name: str = "none"

    # How large it is.
    @property
    def area(self) -> float:
        """Square metres."""
        def helper(x):
            return x * 2
        local = helper(1)
        return local

    async def fetch(
        self,
        url: str,
    ) -> bytes:
        return await get(url)

    class Inner:
        pass


if sys.platform == "win32":
    def platform_name():
        return "windows"


def main(): print("hi")

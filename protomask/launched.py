"""How many processes ``torchrun`` started, by what it says in the environment; without torch, so that it is known at
once."""

from __future__ import annotations

import os
from functools import cache
from typing import NamedTuple

from protomask.errors import InputError


class World(NamedTuple):
    """Hold which of how many processes this is, in all and on this machine."""

    rank: int
    size: int
    local_rank: int
    local_size: int


@cache
def launched() -> World:
    """Read what torchrun says in the environment, once, (0, 1, 0, 1) without it.

    Raises:
        InputError: a variable of it is no number.
    """
    if "MASTER_ADDR" not in os.environ:
        return World(0, 1, 0, 1)
    words = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
    return World(*(_number(name, default) for name, default in words))


def _number(name: str, default: int) -> int:
    given = os.environ.get(name, str(default))
    if not given.isdecimal():
        raise InputError(f"the environment variable {name} is {given!r}; give a whole number, or start with torchrun")
    return int(given)

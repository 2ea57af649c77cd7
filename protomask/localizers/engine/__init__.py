"""What learned masks are made of: the loop, the mask problems, their objectives and optimisers."""

__all__ = [
    "learning",
    "masks",
    "objective",
    "optimisers",
    "order",
    "speed",
    "stack",
    "variation",
    "watching",
    "widening",
]

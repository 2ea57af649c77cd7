"""The one error that a user can cause."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class InputError(ValueError):
    """Bad input: a file, an option or a value that the user can mend.

    The message is one line that names the thing and the mend. The commands print it and exit with code 2; library users
    can catch it as a :class:`ValueError`.
    """


class NothingToKeepWarning(UserWarning):
    """A score is no higher than that of the empty image: no part of the image holds it up, and the map means little."""


NOTHING_TO_KEEP = "its score is no higher than that of an empty image, so there is no evidence to show"
"""what stands in place of an outline there"""


class LowFaithfulnessWarning(UserWarning):
    """A map in one pass that, by its own check, tells little about where the score comes from."""


class NotLogitsWarning(UserWarning):
    """A classifier gives what look like probabilities, where logits are wanted: softmax would be taken twice."""


class BatchStatisticsWarning(UserWarning):
    """A classifier normalises by the batch it gets, so that a picture's score depends on the others beside it."""


class PeerLost(RuntimeError):
    """Another process of a job of several ended, so that this one cannot go on; that one's own message says why."""


def type_named(given: object) -> str:
    """Write the type of something with its article.

    >>> type_named(3), type_named([])
    ('an int', 'a list')
    """
    name = type(given).__name__
    return f"{'an' if name.lower().startswith(('a', 'e', 'i', 'o', 'nd')) else 'a'} {name}"


def first_of(words: Sequence[str], most: int) -> str:
    """List at most so many words, and count the rest.

    >>> first_of(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Write ``"; did you mean x?"``, or nothing where no known word is close."""
    close = difflib.get_close_matches(word, list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""

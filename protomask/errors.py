"""The one error that a user can cause."""


class InputError(ValueError):
    """Bad input: a file, an option or a value that the user can mend.

    The message is one line that names the thing and the mend. The commands print it and exit with code 2; library users
    can catch it as a :class:`ValueError`.
    """


class NothingToKeepWarning(UserWarning):
    """A score is no higher than that of the empty image: no part of the image holds it up, and the map means little."""


class LowFaithfulnessWarning(UserWarning):
    """A map in one pass that, by its own check, tells little about where the score comes from."""


class PeerLost(RuntimeError):
    """Another process of a job of several ended, so that this one cannot go on; that one's own message says why."""

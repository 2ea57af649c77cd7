"""One file per command; :mod:`protomask.cli` parses the words and calls them."""

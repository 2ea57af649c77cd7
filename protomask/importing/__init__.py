"""Readers of files that others wrote: they execute nothing in a file and know no network."""

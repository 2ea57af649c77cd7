"""Runs: train one, open one, and ask it; what the commands do, in Python."""

"""Faults made on purpose: the storage fails, processes die, files are damaged, plugins misbehave; and what ganzoo makes of it."""

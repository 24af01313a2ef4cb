"""Installed plugins: found, their records checked, everything by name."""

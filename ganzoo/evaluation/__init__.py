"""Samples -> figures with their protocol."""

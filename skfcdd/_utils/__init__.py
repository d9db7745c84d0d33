"""Utilities that are independent of the method."""

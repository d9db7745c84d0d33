"""Validation and reading of images, labels, masks and files."""

"""What comes in: images, labels, masks and files, checked once."""

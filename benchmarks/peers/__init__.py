"""Other packages beside this one."""

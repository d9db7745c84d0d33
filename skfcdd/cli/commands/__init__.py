"""The commands: a module each, with the function that the command line calls.

What takes long to import is imported when a command runs, so that ``--help`` is fast.
"""

"""Commands of the command line, each with its function in a module of its own.

Slow imports are deferred until a command runs, so that ``--help`` is fast.
"""

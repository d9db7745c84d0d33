"""Commands of the command line, each in a separate module.

Slow imports are deferred until a command runs, so that ``--help`` is fast.
"""

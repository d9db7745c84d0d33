"""The experiments of the FCDD paper as data, and one command that runs them.

    python -m benchmarks.reproduce list
    python -m benchmarks.reproduce cifar10 --class airplane --seeds 0 1 2

`_experiments` is the table, `_sources` says where images come from, `_changes` holds
the random changes that the paper makes to them, `_run` trains the public estimators,
and `_records` keeps what came of it in benchmarks/results.
"""

"""Experiments of the FCDD paper, and one command that runs them.

    python -m benchmarks.reproduce list
    python -m benchmarks.reproduce cifar10 --class airplane --seeds 0 1 2

`_experiments` defines the experiments, `_sources` loads their images, `_changes`
implements the paper's augmentations, `_run` trains the public estimators, and
`_records` stores the results in benchmarks/results.
"""

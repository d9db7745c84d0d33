"""Order of the examples in the gallery."""

from __future__ import annotations

ORDER = (
    "plot_first_detector",
    "plot_outlier_detector",
    "plot_two_kinds_of_evidence",
    "plot_few_labelled_defects",
    "plot_masks_and_segmentation",
    "plot_report",
    "plot_twenty_good_images",
    "plot_learning_from_marks",
    "plot_drift",
    "plot_threshold_with_a_guarantee",
    "plot_can_the_heatmap_be_trusted",
    "plot_grid_search",
    "plot_pipeline",
    "plot_receptive_field",
    "plot_custom_backbone",
    "plot_outlier_exposure",
    "plot_large_images",
    "plot_dask",
    "serve_over_http",
    "track_with_tensorboard",
    "track_with_mlflow",
)


class InOrder:
    """Sort key for file names; files that are not listed come last."""

    def __init__(self, folder: str) -> None:
        """Accept the folder that sphinx-gallery passes, which is ignored."""

    def __call__(self, name: str) -> tuple[int, str]:
        """Return the position of a file."""
        stem = name.removesuffix(".py")
        return ORDER.index(stem) if stem in ORDER else len(ORDER), stem

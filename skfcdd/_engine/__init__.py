"""Training and inference, independent of the estimators."""

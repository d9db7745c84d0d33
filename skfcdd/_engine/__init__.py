"""Training and inference, below the estimators."""

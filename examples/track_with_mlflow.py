"""
Runs in MLflow
==============

A skorch callback logs the losses of each epoch to an MLflow run; parameters, metrics
and the saved model are logged to the same run.

Needs ``pip install mlflow-skinny`` or ``mlflow``. This example is not run when the
documentation is built.
"""

# sphinx_gallery_thumbnail_path = "images/track_with_mlflow.png"

# needs: mlflow

# %%
# Runs are stored in a local folder, which must be enabled explicitly in MLflow; if you
# use a server or a database, set its URL instead.
import os
import tempfile
from pathlib import Path

import mlflow
from sklearn.metrics import roc_auc_score
from skorch.callbacks import MlflowLogger

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
from skfcdd.persistence import save

data = make_defects(160, image_size=32, texture="wood", random_state=0)
good = data.images[data.target == 0]
folder = Path(tempfile.mkdtemp())
os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
mlflow.set_tracking_uri((folder / "runs").as_uri())

# %%
# ``create_artifact=False`` prevents skorch from writing pickles: the model is saved to
# a file that contains no code.
with mlflow.start_run(run_name="wood") as run:
    model = FCDDClassifier(
        max_epochs=5,
        callbacks=[MlflowLogger(create_artifact=False, terminate_after_train=False)],
        random_state=0,
    )
    mlflow.log_params({"max_epochs": 5, "synthetic": model.synthetic})
    model.fit(good[:80])
    auroc = roc_auc_score(data.target, model.anomaly_score(data.images))
    mlflow.log_metrics({"auroc": auroc, "threshold": model.threshold_})
    model.set_params(callbacks=None)  # code cannot be saved
    save(model, folder / "wood.skfcdd", metrics={"auroc": auroc})
    mlflow.log_artifact(str(folder / "wood.skfcdd"))

# %%
# Read the logged data:
client = mlflow.MlflowClient()
logged = client.get_run(run.info.run_id).data
print(logged.params, {name: round(value, 3) for name, value in logged.metrics.items()})
history = client.get_metric_history(run.info.run_id, "train_loss")
print("train_loss", *(f"{metric.value:.3f}" for metric in history))
assert len(history) == 5

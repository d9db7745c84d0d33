"""Heatmaps of new images, learned from a folder of normal ones: anomalib."""

from anomalib.data import Folder, PredictDataset
from anomalib.engine import Engine
from anomalib.models import Patchcore

model, engine = Patchcore(), Engine()
data = Folder("parts", normal_dir="parts/train/good")
engine.fit(model=model, datamodule=data)
found = engine.predict(model=model, dataset=PredictDataset("parts/test"))
heatmaps = [batch.anomaly_map for batch in found]

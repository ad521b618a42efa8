"""A PyTorch Lightning module as a task: its trainer reports each validation. See lightning.yaml."""

import logging

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # the sweep says how it goes


class SweepCallback(L.Callback):
    """Reports what the module has logged after each validation, and stops the trainer when told."""

    def __init__(self, trial):
        self.trial = trial

    def on_validation_end(self, trainer, pl_module):
        if trainer.sanity_checking:
            return
        if self.trial.report(trainer.callback_metrics, step=trainer.global_step):
            trainer.should_stop = True


class Classifier(L.LightningModule):
    def __init__(self, trial, hidden):
        super().__init__()
        self.trial = trial
        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def training_step(self, batch, _):
        x, y = batch
        loss = F.cross_entropy(self.layers(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, _):
        x, y = batch
        output = self.layers(x)
        self.log("val_loss", F.cross_entropy(output, y))
        self.log("val_accuracy", (output.argmax(1) == y).float().mean())

    def configure_optimizers(self):
        optimizer = self.trial.optimizer(self)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = self.trial.schedule(optimizer, steps=steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def train(trial, hidden=64):
    x, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    data = TensorDataset(x.float() / 16, y)
    train_set, valid_set = torch.utils.data.random_split(
        data, [0.8, 0.2], torch.Generator().manual_seed(0)
    )
    trainer = L.Trainer(
        max_epochs=trial.epochs,
        accelerator=trial.device.type,
        devices=[trial.device.index or 0] if trial.device.type == "cuda" else 1,
        default_root_dir=trial.folder,
        callbacks=[SweepCallback(trial)],
        logger=False,  # the sweep keeps the curves
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(
        Classifier(trial, hidden),
        DataLoader(train_set, trial.batch_size, shuffle=True),
        DataLoader(valid_set, 512),
    )

"""A Hugging Face trainer as a task: it reports each evaluation. See transformers.yaml."""

import math

import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
)


class SweepCallback(TrainerCallback):
    """Reports the metrics of each evaluation, and stops the trainer when told."""

    def __init__(self, trial):
        self.trial = trial

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        if self.trial.report(metrics, step=state.global_step):
            control.should_training_stop = True


class Images(Dataset):
    def __init__(self, pixels, labels):
        self.pixels, self.labels = pixels, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"pixel_values": self.pixels[index], "labels": self.labels[index]}


def accuracy(evaluated):
    return {"accuracy": (evaluated.predictions.argmax(1) == evaluated.label_ids).mean()}


def train(trial, hidden=32):
    x, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    x = x.float().view(-1, 1, 8, 8) / 8 - 1
    held_out = torch.arange(len(x)) % 5 == 0
    model = ViTForImageClassification(  # random weights: nothing is downloaded
        ViTConfig(
            image_size=8,
            patch_size=2,
            num_channels=1,
            num_labels=10,
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )
    optimizer = trial.optimizer(model)
    batches = math.ceil(int((~held_out).sum()) / trial.batch_size)
    schedule = trial.schedule(optimizer, steps=trial.epochs * batches)
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir=str(trial.folder),
            num_train_epochs=trial.epochs,
            per_device_train_batch_size=trial.batch_size,
            per_device_eval_batch_size=512,
            eval_strategy="epoch",
            logging_strategy="no",  # the sweep keeps the curves
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=trial.seed,
            use_cpu=trial.device.type == "cpu",
        ),
        train_dataset=Images(x[~held_out], y[~held_out]),
        eval_dataset=Images(x[held_out], y[held_out]),
        compute_metrics=accuracy,
        optimizers=(optimizer, schedule),
        callbacks=[SweepCallback(trial)],
    )
    trainer.remove_callback(PrinterCallback)  # the sweep says how it goes
    trainer.train()

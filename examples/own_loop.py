"""A training loop of your own as a task: a function whose first parameter is named `trial`.

It keeps checkpoints of its own in `trial.folder`. A trial that is handed back (Ctrl-C) or whose
worker has died is called again with the same folder; it reports again what it had reported.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from torch import nn


def train(trial, hidden=32):
    x, y = (torch.from_numpy(array) for array in load_wine(return_X_y=True))
    x = ((x - x[::2].mean(0)) / x[::2].std(0)).float()
    train_x, train_y, valid_x, valid_y = x[::2], y[::2], x[1::2], y[1::2]
    batches = len(train_x) // trial.batch_size

    model = nn.Sequential(nn.Linear(13, hidden), nn.ReLU(), nn.Linear(hidden, 3))
    optimizer = trial.optimizer(model)
    schedule = trial.schedule(optimizer, steps=trial.epochs * batches)

    history = []
    checkpoint = trial.folder / "last.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        history = saved["history"]
        for metrics in history:  # its epochs are counted by its reports
            if trial.report(metrics):
                return None

    for epoch in range(len(history) + 1, trial.epochs + 1):
        torch.manual_seed(trial.seed + epoch)
        for batch in torch.randperm(len(train_x)).split(trial.batch_size)[:batches]:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(train_x[batch]), train_y[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            output = model(valid_x)
        accuracy = (output.argmax(1) == valid_y).float().mean()
        metrics = {
            "train/loss": loss.item(),
            "valid/loss": F.cross_entropy(output, valid_y).item(),
            "valid/accuracy": accuracy.item(),
        }
        history.append(metrics)
        saved = {"model": model, "optimizer": optimizer, "schedule": schedule}
        states = {name: each.state_dict() for name, each in saved.items()}
        torch.save({**states, "history": history}, checkpoint)
        if trial.report(metrics):  # pruned, or the sweep ends here
            return None
    return {"accuracy": accuracy}  # of the test set, if you have one

"""A loop with Hugging Face Accelerate as a task. See accelerate.yaml."""

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def train(trial, hidden=64):
    x, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    x = x.float() / 16
    held_out = torch.arange(len(x)) % 5 == 0
    batches = DataLoader(TensorDataset(x[~held_out], y[~held_out]), trial.batch_size, shuffle=True)
    model = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))
    optimizer = trial.optimizer(model)
    schedule = trial.schedule(optimizer, steps=trial.epochs * len(batches))

    accelerator = Accelerator(cpu=trial.device.type == "cpu")
    model, optimizer, batches, schedule = accelerator.prepare(model, optimizer, batches, schedule)
    valid_x, valid_y = x[held_out].to(accelerator.device), y[held_out].to(accelerator.device)
    for _ in range(trial.epochs):
        for inputs, target in batches:
            optimizer.zero_grad()
            accelerator.backward(F.cross_entropy(model(inputs), target))
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            output = model(valid_x)
        accuracy = (output.argmax(1) == valid_y).float().mean()
        if trial.report(valid_loss=F.cross_entropy(output, valid_y), accuracy=accuracy):
            break
    accelerator.free_memory()

"""Engines train trials; they know tasks and optimizers, and of the sweep only the `Feed`."""

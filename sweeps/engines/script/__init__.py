"""Trials that are runs of a script, several at once: each its own processes."""

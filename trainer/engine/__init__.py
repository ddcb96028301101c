"""Batches, speed-ups and checkpoints of a model; knows no method, task or run."""

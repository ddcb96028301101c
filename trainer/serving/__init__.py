"""Predictions and explanations of trained runs."""

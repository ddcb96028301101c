"""Metrics, comparisons and statistics of stored runs."""

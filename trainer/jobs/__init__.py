"""The queue, and the worker process that trains what is in it."""

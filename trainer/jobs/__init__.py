"""Queue of runs, and the worker process that trains them."""

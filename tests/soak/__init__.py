"""An hour of the app with a crowd: `python -m tests.soak`. pytest does not collect it."""

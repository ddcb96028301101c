"""The hidden command that trains what is in the queue: worker."""


def worker() -> None:
    """Train the queued runs, then exit. The app and the other commands start this process."""
    from trainer.jobs.leftovers import temporary_folder
    from trainer.jobs.worker import work
    from trainer.runs.store import Store

    store = Store()
    with temporary_folder(store):
        work(store)

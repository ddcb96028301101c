"""Output from the store: reports, models on the Hub, and the runs that come with the program."""

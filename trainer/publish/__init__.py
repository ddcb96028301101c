"""What leaves the store: reports, models on the Hub, the bundled runs."""

"""Tables, comparisons and statistics of stored runs."""

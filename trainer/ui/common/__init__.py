"""What several tabs of the page share."""

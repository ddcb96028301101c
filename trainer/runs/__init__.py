"""Recipes and run folders: made, stored, exported and estimated."""

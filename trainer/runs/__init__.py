"""Recipes of runs and the store of run folders: create, export, import and estimate."""

"""The tab Lesson."""

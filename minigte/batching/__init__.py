"""Texts of many callers computed together: whose turn it is, and the threads that do the work."""

"""What callers pass and are answered: checks, types, sentence-transformers' arguments, the caller's line."""

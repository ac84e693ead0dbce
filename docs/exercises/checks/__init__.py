"""What the answers must be: one module a page, one function an exercise."""

"""What is done with vectors: pooling, similarity, search, and storing them in fewer bits."""

"""Text to token ids: the ``tokenizers`` library, long texts cut to size, ids packed into batches."""

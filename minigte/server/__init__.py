"""The HTTP server: the routes of four APIs that clients already speak, over one AsyncEmbedder a model."""

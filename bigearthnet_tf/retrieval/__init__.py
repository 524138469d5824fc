"""Features of patches, and search among them."""

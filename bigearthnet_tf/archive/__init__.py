"""What lies on disk: bands, labels, statistics, patches, lists. No TensorFlow."""

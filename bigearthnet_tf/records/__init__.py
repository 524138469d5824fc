"""The serialised form: what a TFRecord holds, and how it is written and read."""

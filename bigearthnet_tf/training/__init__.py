"""The run itself: devices, iterations, checkpoints, logs. Knows no task."""

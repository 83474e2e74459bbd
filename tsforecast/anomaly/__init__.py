"""What is said about the past: scores of each step, calibrated p-values, and events. Arrays only, no model, no frame."""

"""The shared core: tensors only, never frames."""

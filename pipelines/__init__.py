"""The batch face: recipes run on schedule, the same flow as the service with other ends."""

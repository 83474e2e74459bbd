"""Frames and arrays only, never torch."""

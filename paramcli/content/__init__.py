"""Bytes as bytes: whether two tensors hold the same ones. Nothing here knows numbers or NumPy."""

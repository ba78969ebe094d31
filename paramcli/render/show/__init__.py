"""`show` drawn as text: a table of tensors, one tensor with its values, or the file itself."""

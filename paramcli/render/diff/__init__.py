"""`diff` drawn as text: a verdict, what differs and by how much, and where in the model."""

"""What learned masks are made of: the loop, the mask problems, their objectives and optimisers."""

"""What agents may do in the world: the tool contract, the catalogue, the built-in tools and the sandbox."""

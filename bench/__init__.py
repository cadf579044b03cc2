"""Commands that measure how fast the bundle is; none of it is deployed."""

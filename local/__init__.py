"""Runs the bundle on one machine, to try it out and to test it; none of this is deployed."""

"""What runs the bundle on one machine, for trying it out and for the tests; none of it is deployed."""

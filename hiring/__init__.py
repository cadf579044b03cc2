"""What the deployed functions are made of, beside the modules at the top level."""

"""The parts of the deployed functions, beside the modules at the top level."""

"""What load.py is made of: the sources it reads, the rules, the tables it fills."""

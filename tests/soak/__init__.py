"""A long run of mixed traffic with faults, and a look at what is left of it afterwards."""

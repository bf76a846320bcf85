"""Several processes behind one set of listeners: the supervisor decides who has which address, its workers serve."""

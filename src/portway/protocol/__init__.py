"""What bytes mean: codecs and state machines without I/O, clocks or randomness of their own."""

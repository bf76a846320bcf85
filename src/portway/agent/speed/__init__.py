"""Speed test: measures the connection to the server and reports the bottleneck."""

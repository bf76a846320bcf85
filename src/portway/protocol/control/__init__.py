"""What agent and server say to each other on the control stream."""

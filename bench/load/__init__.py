"""Programs that act as origin and visitors, in processes of their own, so that their cost is not attributed to the system."""

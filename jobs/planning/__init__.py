"""How everything stands, what is left to do, and how that reads; nothing is sent."""

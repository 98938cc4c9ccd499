"""Real servers for tests, each in a folder and on ports of its own: started, stopped, killed, frozen at will."""

"""The calling side: jobs on their way to a broker, and results on their way back.

One process's connection and the threads that belong to it. No worker, no command line, no page.
"""

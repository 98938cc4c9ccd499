"""What operators do: pause, schedule, explain, search, requeue, change many jobs, move them to another broker.

Works on any broker by its contract alone. No output: the command line and the dashboard show what comes of it.
"""

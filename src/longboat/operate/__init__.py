"""What operators do: pause, schedule, explain, search, move jobs to another queue or broker, change many at once.

Works on any broker through its contract. Prints nothing: the command line and the dashboard show the outcome.
"""

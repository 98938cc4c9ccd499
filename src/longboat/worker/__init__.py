"""The worker: receives jobs, runs them, settles them. One service a file.

in_flight.py shows what a job passes through, worker.py wires it, supervisor.py is the parent of worker processes. Nothing
here knows how a broker keeps its jobs, or how an executor runs a function.
"""

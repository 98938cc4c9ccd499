"""How functions are run: as coroutines, in threads, in child processes.

One class for each, on the base in base.py; contract.py says what they are given and give back. Executors know tasks and
calls. They never know a broker, a queue or a worker.
"""

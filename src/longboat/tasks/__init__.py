"""What users write: tasks with their options and arguments, schedules, signatures and flows, middleware, dependencies.

Pure but for what the user's own functions do. A task knows nothing of a broker: it reaches one through the calling side.
"""

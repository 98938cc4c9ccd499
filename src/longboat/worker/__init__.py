"""The worker: receives jobs, runs them, settles them. One service a file."""

"""The other queues, each with a job that says when it was due and when it started."""

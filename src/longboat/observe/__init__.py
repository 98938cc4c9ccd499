"""What happened: events and who listens to them, log lines, history, metrics.

It only reports. Nothing here changes a job, and no listener can harm one.
"""

"""What it costs to be watched: events, history."""

"""What benches share that run other queues beside ours: their environments, their drivers, their jobs seen from outside."""

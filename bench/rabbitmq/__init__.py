"""The figures of Longboat on RabbitMQ, beside a bare pika loop and beside other queues: `python -m bench.rabbitmq`."""

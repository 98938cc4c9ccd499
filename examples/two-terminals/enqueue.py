"""The second terminal: one line to enqueue, one to wait for the result."""

from functions import add, divide
from longboat import JobFailed
from queue_app import app

job = app.enqueue(add, 2, 3)
print(f"2 + 3 = {job.result('10s')}")

many = [app.enqueue(add, n, n) for n in range(20)]
print("sums:", *[each.result("10s") for each in many])

try:
    app.enqueue(divide, 1, 0).result("10s")
except JobFailed as failed:
    print(f"1 / 0: {failed.type} after {failed.attempts} attempt")
app.close()

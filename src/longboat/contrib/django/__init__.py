"""Django's door: `INSTALLED_APPS += ["longboat.contrib.django"]`, and in an app's tasks.py

from longboat.contrib.django import app

@app.task
def confirm(order_id: int) -> None: ...
"""

from longboat.contrib.django.app import app as app

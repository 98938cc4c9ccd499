"""What a process imports that is not Django's own: `longboat worker`, and the child processes of a worker.

The command line names this module where DJANGO_SETTINGS_MODULE is set and no other app is named.
"""

from longboat.contrib.django.app import app as app
from longboat.contrib.django.project import set_up

set_up()

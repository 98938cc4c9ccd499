"""JobLogs: keeps what is logged while a job runs with the job."""

from __future__ import annotations

import logging

from longboat.tasks.current import running


class JobLogs(logging.Handler):
    """Passes records of `logging` to the job that runs where they were made."""

    def emit(self, record: logging.LogRecord) -> None:
        job = running.get(None)
        if job is None or record.name.partition(".")[0] == "longboat":
            return
        try:
            text = record.getMessage()
            if record.exc_info:
                text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
            job.log(text, record.levelname)
        except Exception:
            self.handleError(record)


def listen_to_logs() -> None:
    """From now on keep records of `logging` with the jobs that made them. Calling it again changes nothing."""
    root = logging.getLogger()
    if not any(isinstance(handler, JobLogs) for handler in root.handlers):
        root.addHandler(JobLogs())

"""A report that takes a while, and a page that shows how far it is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from longboat import Longboat, current
from longboat.contrib.fastapi import get_longboat, job_events, lifespan

longboat = Longboat("sqlite:///jobs.db")
PAGE = Path(__file__).with_name("page.html")


class Wish(BaseModel):
    pages: int = Field(gt=0, le=100)


class Report(BaseModel):
    words: int


@longboat.task(retries=2)
async def write(wish: Wish) -> Report:
    words = 0
    for page in range(wish.pages):
        current().progress(page, wish.pages, f"page {page + 1}")
        await asyncio.sleep(0.2)
        words += 250
    return Report(words=words)


api = FastAPI(lifespan=lifespan(longboat, worker=True))  # leave the worker out, and run `longboat worker main` elsewhere
App = Annotated[Longboat, Depends(get_longboat)]


@api.get("/", include_in_schema=False)
async def index() -> Response:
    return FileResponse(PAGE)


@api.post("/reports")
async def start(wish: Wish) -> dict[str, str]:
    return {"id": (await write.aenqueue(wish)).id}


@api.get("/reports/{id}/events")
async def events(id: str, app: App) -> Response:
    return await job_events(app.job(id))


@api.get("/reports/{id}")
async def result(id: str, app: App) -> Report:
    return Report.model_validate(await app.job(id))

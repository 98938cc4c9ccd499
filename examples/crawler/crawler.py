"""Crawls from a start page to all pages of the hosts it may visit: `python crawler.py URL HOST…`

However many workers run, no host sees more than two requests at a time, nor more than fifty a second.
One that is slow does not hold up the others.
"""

import re
import sys
from collections import Counter
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

from longboat import JobFailed, Limit, Longboat, as_completed

app = Longboat()
LARGEST = 1_000_000

Page = tuple[str, str]
"""A host and a path on it."""


@app.task(retries=2, backoff="200ms", timeout="20s", limit=Limit(key="{host}", running=2, rate="50/s"))
def links(host: str, path: str) -> list[Page]:
    """The pages that a page links to."""
    url = f"http://{host}{path}"
    with urlopen(url, timeout=10) as answer:
        text = answer.read(LARGEST).decode(errors="replace")
    return [page_of(urljoin(url, link)) for link in re.findall(r'href="([^"]+)"', text)]


def page_of(url: str) -> Page:
    parts = urlsplit(url)
    return parts.netloc, parts.path or "/"


def crawl(start: Page, hosts: set[str]) -> Counter[str]:
    """How many pages of each host there are, breadth first. A page that cannot be read is told and left out."""
    found, read, new = {start}, Counter[str](), [start]
    while new:
        jobs = links.enqueue_many(new)
        pages = dict(zip([job.id for job in jobs], new, strict=True))
        new = []
        for job in as_completed(jobs):
            host, path = pages[job.id]
            try:
                linked = job.result()
            except JobFailed as failed:
                print(f"{host}{path}: {failed.message}")
                continue
            read[host] += 1
            further = {page for page in linked if page[0] in hosts} - found
            found |= further
            new.extend(further)
    return read


if __name__ == "__main__":
    start = page_of(sys.argv[1])
    for host, count in sorted(crawl(start, {start[0], *sys.argv[2:]}).items()):
        print(f"{host}: {count} pages")
    app.close()

"""Makes thumbnails of a folder of pictures: `python thumbnails.py FOLDER`. Needs Pillow.

Pictures are large, so paths travel, not pictures. Scaling is work for processors, so each call runs in a child process.
"""

import sys
from pathlib import Path

from PIL import Image

from longboat import Longboat, as_completed

app = Longboat()
SIZES = (64, 256)


@app.task(executor="process", retries=2, timeout="1m")
def thumbnail(picture: Path, size: int) -> Path:
    small = picture.parent / "thumbnails" / f"{picture.stem}-{size}.webp"
    small.parent.mkdir(exist_ok=True)
    half_made = small.with_suffix(".part")
    with Image.open(picture) as image:
        image.thumbnail((size, size))
        image.convert("RGB").save(half_made, "webp")
    half_made.replace(small)  # whoever looks sees all of it or nothing, even if the job runs twice
    return small


def main(folder: Path) -> None:
    pictures = sorted(path for path in folder.resolve().iterdir() if path.suffix in {".jpg", ".png"})
    jobs = thumbnail.enqueue_many((picture, size) for picture in pictures for size in SIZES)
    for job in as_completed(jobs, timeout="10m"):
        print(job.result().name)
    app.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

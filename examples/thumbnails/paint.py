"""Paints some pictures, for trying it out: `python paint.py FOLDER`."""

import sys
from pathlib import Path

from PIL import Image

folder = Path(sys.argv[1])
folder.mkdir(exist_ok=True)
for number in range(4):
    Image.radial_gradient("L").resize((1600 - 200 * number, 900)).save(folder / f"picture{number}.jpg")

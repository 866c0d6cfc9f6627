"""Write the data of the support desk: `python -m lori_cl.demo.smollm FOLDER`."""

import sys
from pathlib import Path

from lori_cl.demo.smollm.data import write_data

write_data(Path(sys.argv[1]))

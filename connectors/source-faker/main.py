import sys

from connector_protocol import launch
from source_faker import SourceFaker

if __name__ == "__main__":
    sys.exit(launch(SourceFaker(), sys.argv[1:]))

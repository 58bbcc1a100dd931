import sys

from connector_protocol import launch
from source_file import SourceFile

if __name__ == "__main__":
    sys.exit(launch(SourceFile(), sys.argv[1:]))

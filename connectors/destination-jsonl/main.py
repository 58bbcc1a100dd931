import sys

from connector_protocol import launch
from destination_jsonl import DestinationJsonl

if __name__ == "__main__":
    sys.exit(launch(DestinationJsonl(), sys.argv[1:]))

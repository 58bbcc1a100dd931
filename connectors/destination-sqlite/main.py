import sys

from connector_protocol import launch
from destination_sqlite import DestinationSqlite

if __name__ == "__main__":
    sys.exit(launch(DestinationSqlite(), sys.argv[1:]))

import sys

from source_example import launch

if __name__ == "__main__":
    sys.exit(launch(sys.argv[1:]))

"""``python -m relay.sendmail``: the same as the installed ``relay-sendmail``."""

import sys

from relay.sendmail import main

if __name__ == "__main__":
    sys.exit(main())
